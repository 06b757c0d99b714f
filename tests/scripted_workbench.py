"""A stand-in for the engine's workbench whose stages follow formulas; for tests of `verify`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

RATE, Z, HIDDEN, WIDTH, VOCAB = 24_000, 3, 4, 5, 40
PLACEHOLDER = 30
MANIFEST: dict[str, Any] = {
    "rates": {"input_hz": RATE, "encoder_hz": 16_000},
    "vocabulary": {"audio_placeholder": PLACEHOLDER, "control": {"<|c|>": PLACEHOLDER}},
    "flow": {"z": Z, "hidden": HIDDEN},
}


class ScriptedWorkbench:
    """Every stage is a formula of its input; logits follow the ids fed so far.

    `error` is added to the outputs of the stages named in `wrong`.
    """

    def __init__(self, wrong: str = "", error: float = 0.0) -> None:
        self.wrong, self.error = wrong, error
        self.fed: list[int] = []
        self.turn: list[int] = []

    def _give(self, stage: str, values: np.ndarray) -> np.ndarray:
        return (values + (self.error if stage == self.wrong else 0.0)).astype(np.float32)

    def cut_turn(self, samples: np.ndarray) -> tuple[list[np.ndarray], int]:
        return [samples[:4800], samples[4800:]], 2

    def resample(self, samples: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
        return self._give("wav16k", samples[:: from_hz // 8000])

    def log_mel(self, segment: np.ndarray) -> np.ndarray:
        return self._give("log_mel", np.outer([1.0, 2.0], segment))

    def encode_segment(self, log_mel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._give("encoder", 3.0 * log_mel.T), log_mel.T

    def turn_features(self, samples: np.ndarray) -> np.ndarray:
        return self._give("features", np.outer(samples[:2] + 1.0, np.arange(1, WIDTH + 1)))

    def tokenize(self, text: str, special: bool) -> list[int]:
        assert special
        ids, at = [], 0
        while at < len(text):
            control = text.startswith("<|c|>", at)
            ids.append(PLACEHOLDER if control else ord(text[at]) - ord("a"))
            at += 5 if control else 1
        return ids

    def piece(self, token: int) -> bytes:
        return b"" if token == PLACEHOLDER else bytes([ord("a") + token])

    def reset_backbone(self) -> None:
        self.fed = []

    def feed(self, ids: list[int], features: np.ndarray | None) -> np.ndarray:
        rows = 0 if features is None else len(features)
        assert ids.count(PLACEHOLDER) in (0, rows)
        self.fed += ids
        state = sum((k + 1) * i for k, i in enumerate(self.fed)) % 997
        logits = np.sin(0.37 * state * np.arange(1, VOCAB + 1))
        if rows:
            logits = logits + 1e-3 * float(np.sum(features))
        return self._give("logits", logits)

    def begin_turn(self, ids: list[int]) -> None:
        self.turn = list(ids)

    def pick(self, logits: np.ndarray) -> int:
        allowed = logits.copy()
        allowed[[i for i in self.turn if i < VOCAB]] -= 0.1
        token = int(np.argmax(allowed))
        if self.wrong == "tokens" and len(self.turn) % 3 == 0:
            token = (token + 1) % VOCAB
        self.turn.append(token)
        return token

    def flow_decode(
        self, codes: list[int], noise: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        first = self._give("first_step", noise + np.sum(codes))
        final = self._give("latents", 2.0 * first)
        return final[2:], first, final

    def vocode(self, latents: np.ndarray) -> np.ndarray:
        return self._give("wave", np.repeat(latents.sum(axis=1), 10))

    def flow_field(self, inputs: np.ndarray, t: float) -> np.ndarray:
        return self._give("field", t * inputs[..., :Z])


class ScriptedVerifyBundle:
    """Has what `verify` uses of parley.Bundle."""

    manifest = MANIFEST
    rate = RATE

    def __init__(self, bench: ScriptedWorkbench) -> None:
        self.bench = bench

    def workbench(self) -> ScriptedWorkbench:
        return self.bench

    def resample(self, samples: np.ndarray, rate: int) -> np.ndarray:
        assert rate == RATE
        return samples

    def __enter__(self) -> ScriptedVerifyBundle:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def golden(recordings: list[np.ndarray]) -> dict[str, Any]:
    """Golden numbers of a perfect workbench, under the keys of golden files."""
    bench = ScriptedWorkbench()
    made: dict[str, Any] = {}
    last: list[int] = []
    for n, samples in enumerate(recordings, start=1):
        (first, second), n_features = bench.cut_turn(samples)
        features = bench.turn_features(samples)
        ids = [n, 2, PLACEHOLDER, PLACEHOLDER, 7]
        logits = bench.feed(last + ids, features)
        bench.begin_turn(ids)
        tokens, steps = [], [logits]
        for k in range(10 - n):
            tokens.append(bench.pick(steps[-1]))
            if k < 9 - n:
                steps.append(bench.feed([tokens[-1]], None))
        last = tokens[-1:]
        made |= {
            f"turn{n}_wav24k_segments": np.array([first.size, second.size]),
            f"turn{n}_n_features": np.int64(n_features),
            f"turn{n}_features": features,
            f"turn{n}_input_ids": np.array(ids),
            f"turn{n}_prefill_logits": logits,
            f"turn{n}_step_logits": np.stack(steps[:4]),
            f"turn{n}_greedy_tokens": np.array(tokens),
        }
    (first, second), _ = bench.cut_turn(recordings[0])
    waves = [bench.resample(s, RATE, 16_000) for s in (first, second)]
    mel = bench.log_mel(waves[0])
    made |= {
        "turn1_wav16k": np.concatenate(waves),
        "turn1_log_mel": mel[:, :50],
        "turn1_encoder": bench.encode_segment(mel)[0][:20],
    }
    return made | _speech(bench)


def _speech(bench: ScriptedWorkbench) -> dict[str, Any]:
    draw = np.random.default_rng(5)
    noise = draw.standard_normal((1, 9, Z)).astype(np.float32)
    latents, first, final = bench.flow_decode([1, 2], noise[0])
    alone = draw.standard_normal((1, Z, 6)).astype(np.float32)
    inputs = np.random.default_rng(8).standard_normal((2, 3, HIDDEN + 2 * Z)).astype(np.float32)
    return {
        "t2w_codes": np.array([1, 2]),
        "t2w_noise": noise,
        "t2w_latents_first_step": first,
        "t2w_latents": final,
        "t2w_wave": bench.vocode(latents),
        "vocoder_latents": alone,
        "vocoder_wave": bench.vocode(alone[0].T),
        "field_in_seed": np.int64(8),
        "field_out": bench.flow_field(inputs, 0.25),
    }


def as_opened(bench: ScriptedWorkbench, asked: SimpleNamespace) -> Any:
    """Stands for parley.open; `asked.options` keeps what it was asked for."""

    def open_bundle(path: str, **options: Any) -> ScriptedVerifyBundle:
        asked.options = options
        return ScriptedVerifyBundle(bench)

    return open_bundle
