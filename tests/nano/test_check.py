"""The checks before training: what passes, and that what does not hold ends them."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from train import check  # noqa: E402

from parley_export.families.covo_audio.modules import Vocoder, VocoderConfig  # noqa: E402


def vocoder() -> Vocoder:
    torch.manual_seed(0)
    config = VocoderConfig(z=4, width=8, rates=(2, 2), block_kernels=(3,), block_dilations=((1,),))
    return Vocoder(config)


def test_a_vocoder_that_looks_too_far_ahead_ends_the_checks() -> None:
    check.check_same("samples", check.vocoder_is_bounded(vocoder()))

    class Reversed(Vocoder):
        def forward(self, latents: torch.Tensor) -> torch.Tensor:
            return super().forward(latents.flip(-1))

    far = vocoder()
    far.__class__ = Reversed
    with pytest.raises(SystemExit, match=r"\[check\.causal\] expected samples"):
        check.check_same("samples", check.vocoder_is_bounded(far))


def test_what_does_not_learn_ends_the_checks(capsys: pytest.CaptureFixture[str]) -> None:
    check.check_falls("flow", iter([2.0, 1.0, 0.5]))
    assert "flow learns by heart: loss 2.000 to 0.500" in capsys.readouterr().out
    for losses in ([2.0, 1.5], [2.0, float("nan")]):
        with pytest.raises(SystemExit, match=r"\[check\.learn\] expected flow"):
            check.check_falls("flow", iter(losses))
