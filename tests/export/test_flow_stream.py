"""The engine's streaming flow decoder against the module, chunk by chunk, on the same noise."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import models, relative_error
from torch import Tensor

import parley
import tolerances
from parley_apps.main import main
from parley_export.families.covo_audio.modules.flow import FlowField, FlowPast
from tiny_checkpoint import mean_and_variance, voice, write_checkpoint

CODES, CHUNK, SEED = 22, 4, 3
SETTINGS = {"mode": "cached", "points": 4, "guided_evaluations": 6, "past_codes": 6}


def times(points: int) -> list[tuple[Tensor, Tensor, bool]]:
    """(time, step, to the middle) of each evaluation of midpoint steps."""
    grid = torch.linspace(0, 1, points)
    plan = []
    for begin, end in itertools.pairwise(grid):
        step = end - begin
        plan += [(begin, step / 2, True), (begin + step / 2, step, False)]
    return plan


class Reference:
    """One reply through `FlowField.extend`: what every evaluation left behind, without rings."""

    def __init__(self, flow: FlowField, arrays: dict[str, Tensor], settings: dict) -> None:
        self.flow, self.settings = flow, settings
        self.codes, self.speaker = arrays["prompt_token.npy"][0], arrays["speaker_embed.npy"]
        self.latents = arrays["prompt_latent.npy"][0]
        self.plan = times(settings["points"])
        self.prompts: list[FlowPast] = []
        self.pasts = [flow.no_past(2) for _ in self.plan]

    def solve(self, codes: Tensor, own: int, noise: Tensor, first: int) -> Tensor:
        """Latents of the last `own` codes, whose first latent frame is `first` after the prompt."""
        config, n = self.flow.config, own * self.flow.config.frames_per_code
        features = self.flow.condition(codes[None])[:, -n:]
        condition = torch.zeros(1, n, config.z)
        known = self.latents[len(self.codes) * config.frames_per_code + first :][:n]
        condition[0, : len(known)] = known
        fixed = torch.cat(
            [
                torch.cat([features, torch.zeros_like(features)]),
                condition.expand(2, -1, -1),
            ],
            -1,
        )
        window = self.settings["past_codes"] * config.frames_per_code
        x = middle = noise[None]
        for i, (t, step, to_middle) in enumerate(self.plan):
            at = x if to_middle else middle
            inputs = torch.cat([fixed, at.expand(2, -1, -1)], -1)
            modulation = self.flow.modulation(t[None], self.speaker)
            past = self.flow.no_past(2)
            if first >= 0:
                rows = self.pasts[i].keys[0].shape[1]
                seen = torch.arange(rows - min(rows, window), rows)
                past = self.prompts[i].append(self.pasts[i].select(seen))
            velocity, left = self.flow.extend(inputs, modulation, past)
            guided = velocity[:1] + config.guidance * (velocity[:1] - velocity[1:])
            if to_middle:
                middle = x + step * guided
            else:
                x = x + step * guided
            if first < 0:
                self.prompts.append(left)
            else:
                self.pasts[i] = self.pasts[i].append(left)
        return x[0]


@pytest.fixture(scope="module")
def half_cache_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle whose flow decoder keeps keys and values in half precision, as nano does."""
    folder = tmp_path_factory.mktemp("half_cache")
    checkpoint = write_checkpoint(folder / "checkpoint")
    (checkpoint / "parley.json").write_text('{"flow_cache": "f16"}')
    out = folder / "bundle"
    arguments = ["export", str(checkpoint), "--out", str(out), "--duplex", "--backbone", "f32"]
    assert main(arguments) == 0
    return out


@pytest.mark.parametrize(
    ("bundle_of", "kind", "tolerance"),
    [
        ("tiny_bundle", "f32", tolerances.LATENTS_REL),
        ("half_cache_bundle", "f16", tolerances.LATENTS_F16_CACHE_REL),
    ],
    ids=["f32", "f16"],
)
@pytest.mark.parametrize("past_codes", [6, 0, 16])
def test_cached_chunks_equal_the_module(
    past_codes: int,
    bundle_of: str,
    kind: str,
    tolerance: float,
    request: pytest.FixtureRequest,
) -> None:
    folder = request.getfixturevalue(bundle_of)
    tiny = models("tiny")
    arrays = {name: torch.from_numpy(array) for name, array in voice(tiny.spec).items()}
    settings = SETTINGS | {"past_codes": past_codes, "lookahead_codes": 0}
    reference = Reference(tiny.flow, arrays, settings)
    codes = np.random.default_rng(5).integers(0, tiny.spec.codes, CODES).astype(np.int32)
    with parley.open(folder) as bundle:
        inputs = bundle.manifest["graphs"]["flow_field"]["inputs"]
        assert {t["type"] for t in inputs if t["name"].startswith("past_keys.")} == {kind}
        bench = bundle.workbench(flow=settings)
        got = bench.flow_stream(codes, seed=SEED, cut=5)
        again = bench.flow_stream(codes, seed=SEED, cut=CODES)
        frames = 4 * len(reference.codes)
        prompt_noise = torch.from_numpy(bench.flow_noise(-frames, frames))
        noise = torch.from_numpy(bench.flow_noise(0, 4 * CODES, seed=SEED))
    np.testing.assert_array_equal(got, again)

    reference.solve(reference.codes, len(reference.codes), prompt_noise, -frames)
    every = torch.cat([reference.codes, torch.from_numpy(codes)])
    before, parts = len(reference.codes), []
    for begin in range(0, CODES, CHUNK):
        end = min(begin + CHUNK, CODES)
        piece = every[before + begin - 1 : before + end]
        parts.append(reference.solve(piece, end - begin, noise[4 * begin : 4 * end], 4 * begin))
    mean, variance = torch.from_numpy(mean_and_variance(tiny.spec))[0].chunk(2)
    expected = (torch.cat(parts) * variance.sqrt() + mean)[len(reference.latents) - frames :]
    assert relative_error(got, expected) < tolerance


def test_modes_of_one_bundle(tiny_bundle: Path) -> None:
    """A reply of one chunk within a window is the whole utterance; cached is near to it."""
    codes = [3, 1, 2, 5]
    with parley.open(tiny_bundle) as bundle:
        whole, *_ = bundle.workbench().flow_decode(codes, seed=SEED)
        window = bundle.workbench(flow={"mode": "window"}).flow_stream(codes, seed=SEED)
        cached = bundle.workbench(flow={"mode": "cached"}).flow_stream(codes, seed=SEED)
        with pytest.raises(parley.InputError, match="window or cached"):
            bundle.workbench(flow={"mode": "exact"}).flow_stream(codes)
        with pytest.raises(parley.InputError, match='got "modes"; choose among mode, '):
            bundle.workbench(flow={"modes": "exact"})
        with pytest.raises(parley.InputError, match=r"argument flow, got 1 \(key flow\.points"):
            bundle.workbench(flow={"points": 1})
    assert relative_error(window, whole) < tolerances.SAME_REL
    assert window.shape == cached.shape and not np.array_equal(window, cached)
