"""The judges that a vocoder can be trained against: shapes, that they learn, that they teach."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from train import discriminators, latents, optim  # noqa: E402

SAMPLES = 4800


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def tones(n):
    """Harmonics, `[n, SAMPLES]`."""
    time = torch.arange(SAMPLES) / latents.RATE
    pitch = 100 + 100 * torch.rand(n, 1)
    return sum((2 * np.pi * pitch * k * time).sin() / k for k in range(1, 20)) / 10


def noise(like):
    return 0.1 * torch.randn_like(like)


def test_every_judge_scores_and_shows_its_layers():
    found = discriminators.Judges()(tones(2))
    assert len(found) == len(discriminators.PERIODS) + len(discriminators.WINDOWS)
    layers = len(discriminators.PERIOD_WIDTHS)
    assert all(len(features) == layers and features[-1].shape[1] == 1 for features in found)
    assert all(part.isfinite().all() for features in found for part in features)


def test_judges_learn_to_tell():
    contest = discriminators.Contest(3e-3)
    for _ in range(24):
        real = tones(2)
        _, terms = contest.step(noise(real).requires_grad_(), real, 1.0)
    assert float(terms["judging"].detach()) < 0.42  # 0.5: all scores are alike
    real, made = (contest.judges(waves) for waves in (tones(2), noise(tones(2))))
    fooled = [float(discriminators.fooling_loss(scores).detach()) for scores in (real, made)]
    assert fooled[0] < 0.7 * fooled[1]


def test_the_vocoder_is_taught_and_the_judges_stay():
    """Samples moved along the loss come nearer to the real ones' features."""
    contest = discriminators.Contest(1e-3)
    real = tones(2)
    made = noise(real).requires_grad_()
    optimizer = torch.optim.Adam([made], 1e-2)
    matching = []
    for _ in range(8):
        loss, terms = contest.step(made, real, 0.0)  # the judges learn nothing meanwhile
        (made.grad,) = torch.autograd.grad(loss, made)
        optimizer.step()
        matching.append(float(terms["matching"].detach()))
    assert matching[-1] < 0.95 * matching[0]
    assert all(p.grad is None for p in contest.judges.parameters())


def test_a_contest_is_taken_up_again(tmp_path):
    def parts():
        return discriminators.Contest(1e-3)

    first, real = parts(), tones(1)
    first.step(noise(real), real, 1.0)
    optim.Run(tmp_path, first.parts, 1.0, say=lambda line: None).save()
    second = parts()
    optim.Run(tmp_path, second.parts, 1.0, say=lambda line: None)
    a, b = first.judges.state_dict(), second.judges.state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)
