"""Every stage of the engine against golden numbers; knows the golden files' keys.

The keys are those that the published PyTorch code's numbers are stored under: turn1_* and turn2_*
for two recordings of one conversation, t2w_*, vocoder_* and field_* for the speech side, whose
latents are named so, or mel where they are log-mel frames.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from parley_apps.golden import Row, compare, skipped

if TYPE_CHECKING:
    import parley

# How golden files with log-mel frames were made: the noise of all runs, and the frames that a
# stream gives until its cache is full and the published code keeps other frames than ours.
MEL_NOISE_SEED, MEL_NOISE_FRAMES, MEL_STREAM_FRAMES = 2025, 1500, 150


def compare_all(
    bundle: parley.Bundle, golden: dict[str, Any], recordings: list[Path | None]
) -> Iterator[Row]:
    """All comparisons in the order of a chunk's journey."""
    bench = bundle.workbench()
    features: list[Any] = []
    for turn, path in enumerate(recordings, start=1):
        samples = None if path is None else _read(bundle, path)
        check = _FrontEnd(bench, bundle.manifest, golden, f"turn{turn}", samples)
        yield from check.rows()
        features.append(check.features)
    yield from _counts(bench, golden)
    yield from _Backbone(bench, bundle.manifest, golden, features).rows()
    yield from _Speech(bundle, bench, golden).rows()


def _read(bundle: parley.Bundle, path: Path) -> Any:
    import parley

    samples, rate = parley.read_audio(path)
    return bundle.resample(samples, rate)


class _FrontEnd:
    """Recording to features, one turn. `features` are the engine's own, or the golden ones."""

    def __init__(
        self, bench: Any, manifest: dict[str, Any], golden: dict[str, Any], turn: str, samples: Any
    ) -> None:
        self._bench, self._golden, self._turn, self._samples = bench, golden, turn, samples
        self._rates = manifest["rates"]
        self.features = golden.get(f"{turn}_features")

    def rows(self) -> Iterator[Row]:
        kinds = {
            "wav24k_segments": "tokens",
            "n_features": "tokens",
            "wav16k": "wave16k",
            "mel_frames": "tokens",
            "log_mel": "log_mel",
            "log_mel_head": "log_mel",
            "log_mel_tail": "log_mel",
            "encoder": "encoder",
            "features": "features",
        }
        keys = [key for key in kinds if f"{self._turn}_{key}" in self._golden]
        if self._samples is None:
            for key in keys:
                why = "no recording; give it with --audio"
                yield skipped(f"{self._turn}_{key}", kinds[key], why)
            return
        segments, n_features = self._bench.cut_turn(self._samples)
        ours: dict[str, Callable[[Any], Any]] = {
            "wav24k_segments": lambda golden: np.array([s.size for s in segments]),
            "n_features": lambda golden: np.array(n_features),
            "wav16k": lambda golden: self._wav16k(segments)[: golden.size],
            "mel_frames": lambda golden: np.array(self._log_mel(segments[0]).shape[1]),
            "log_mel": lambda golden: self._log_mel(segments[0])[:, : golden.shape[1]],
            "log_mel_head": lambda golden: self._log_mel(segments[0])[:, : golden.shape[1]],
            "log_mel_tail": lambda golden: self._log_mel(segments[0])[:, -golden.shape[1] :],
            "encoder": lambda golden: self._encoder(segments[0])[: golden.shape[0]],
            "features": lambda golden: self._turn_features(),
        }
        for key in keys:
            golden = self._golden[f"{self._turn}_{key}"]
            yield compare(f"{self._turn}_{key}", kinds[key], ours[key](golden), golden)

    def _wav16k(self, segments: list[Any]) -> Any:
        waves = [self._resampled(segment) for segment in segments]
        return np.concatenate(waves)

    def _resampled(self, segment: Any) -> Any:
        rates = self._rates
        return self._bench.resample(segment, rates["input_hz"], rates["encoder_hz"])

    def _log_mel(self, segment: Any) -> Any:
        return self._bench.log_mel(self._resampled(segment))

    def _encoder(self, segment: Any) -> Any:
        encoded, _ = self._bench.encode_segment(self._log_mel(segment))
        return encoded

    def _turn_features(self) -> Any:
        self.features = self._bench.turn_features(self._samples)
        return self.features


class _Backbone:
    """Both turns on one KV cache: prompts, logits, greedy tokens."""

    def __init__(
        self, bench: Any, manifest: dict[str, Any], golden: dict[str, Any], features: list[Any]
    ) -> None:
        self._bench, self._golden, self._features = bench, golden, features
        self._placeholder = manifest["vocabulary"]["audio_placeholder"]
        control = manifest["vocabulary"]["control"]
        self._control = {number: name.encode() for name, number in control.items()}

    def rows(self) -> Iterator[Row]:
        self._bench.reset_backbone()
        last: int | None = None  # the last token of the turn before, which is not in the cache yet
        for n, features in enumerate(self._features, start=1):
            turn = f"turn{n}"
            ids = self._golden.get(f"{turn}_input_ids")
            if ids is None:
                return
            ids = [int(i) for i in ids.ravel()]
            if features is None and self._placeholder in ids:
                yield from self._skip(turn, "neither a recording nor golden features")
                return
            whole = f"{turn}_new_ids_from" in self._golden  # the ids are those of all turns
            if n > 1 and last is None and not whole:
                yield from self._skip(turn, "no golden tokens of the turn before")
                return
            # Ids drawn of a reply may spell what would be cut otherwise.
            first = int(self._golden[f"{turn}_new_ids_from"]) if whole else 0
            yield self._tokenizer(f"{turn}_input_ids", ids[first:])
            if whole:
                features, last = np.concatenate(self._features[:n]), None
                self._bench.reset_backbone()
            prompt = ids if last is None else [last, *ids]
            last = yield from self._replies(turn, prompt, ids, features)
        for key in ("text_input_ids", "tools_input_ids"):
            if key in self._golden:
                yield self._tokenizer(key, [int(i) for i in self._golden[key].ravel()])

    def _replies(
        self, turn: str, prompt: list[int], ids: list[int], features: Any
    ) -> Generator[Row, None, int | None]:
        """Of one prompt; returns the last greedy token. A file with penalised tokens has the others
        without the bundle's penalties."""
        greedy, penalised = (
            [int(t) for t in self._golden.get(f"{turn}_{name}_tokens", [])]
            for name in ("greedy", "penalised")
        )
        logits = self._bench.feed(prompt, features)
        if penalised:
            yield from self._turn(turn, logits, greedy, "greedy", lambda x: int(np.argmax(x)))
            self._bench.reset_backbone()
            logits = self._bench.feed(prompt, features)
        self._bench.begin_turn(ids)
        name = "penalised" if penalised else "greedy"
        yield from self._turn(turn, logits, penalised or greedy, name, self._bench.pick)
        return greedy[-1] if greedy else None

    def _tokenizer(self, key: str, ids: list[int]) -> Row:
        """The prompt's ids to text and back, but for those that have no text."""
        texts = {i: self._control.get(i) or self._bench.piece(i) for i in ids}
        ids = [i for i in ids if texts[i]]
        text = b"".join(texts[i] for i in ids)
        ours = self._bench.tokenize(text.decode(errors="replace"), True)
        return compare(key, "tokens", np.array(ours), np.array(ids))

    def _turn(
        self, turn: str, logits: Any, tokens: list[int], name: str, pick: Callable[[Any], int]
    ) -> Iterator[Row]:
        key, first = f"{turn}_prefill_logits", name == "greedy"
        if key in self._golden and first:
            yield compare(key, "logits", logits, self._golden[key])
        key = f"{turn}_step_logits"
        expected = self._golden.get(key) if first else None
        wanted = 0 if expected is None else len(expected)
        steps, picked = [logits], []
        for n, token in enumerate(tokens):
            picked.append(pick(steps[-1]))
            if picked[-1] != token:  # what follows is measured along the golden path
                self._bench.begin_turn(self._penalised(turn, tokens[: n + 1]))
            if n + 1 < len(tokens):
                steps.append(self._bench.feed([token], None))
        if expected is not None:
            yield compare(key, "logits", np.stack(steps[:wanted]), expected)
        if tokens:
            ours = np.array(picked)
            yield compare(f"{turn}_{name}_tokens", "tokens", ours, np.array(tokens))

    def _penalised(self, turn: str, tokens: list[int]) -> list[int]:
        ids = self._golden[f"{turn}_input_ids"].ravel()
        return [*(int(i) for i in ids), *tokens]

    def _skip(self, turn: str, why: str) -> Iterator[Row]:
        kinds = {"prefill_logits": "logits", "step_logits": "logits"}
        kinds |= {"greedy_tokens": "tokens", "penalised_tokens": "tokens"}
        for key, kind in kinds.items():
            if f"{turn}_{key}" in self._golden:
                yield skipped(f"{turn}_{key}", kind, why)


def _counts(bench: Any, golden: dict[str, Any]) -> Iterator[Row]:
    """Features of recordings of given lengths; features of cuts of the first recording."""
    if "count_samples" in golden and "count_tokens_of_samples" in golden:
        lengths = [int(n) for n in golden["count_samples"]]
        ours = [bench.cut_turn(np.zeros(n, np.float32))[1] for n in lengths]
        expected = golden["count_tokens_of_samples"]
        yield compare("count_tokens_of_samples", "tokens", np.array(ours), expected)
    samples = golden.get("turn1_wav16k")
    for key in sorted(golden):
        frames = key.removeprefix("edge").removesuffix("_features")
        if samples is not None and frames.isdecimal():
            cut = np.ascontiguousarray(samples[32_000 : 32_000 + 160 * (int(frames) - 2)])
            yield compare(key, "features", bench.turn_features(cut), golden[key])


class _Speech:
    """Codes to latents to samples, the vocoder alone, one evaluation of the field."""

    def __init__(self, bundle: parley.Bundle, bench: Any, golden: dict[str, Any]) -> None:
        self._bundle, self._bench, self._golden = bundle, bench, golden
        self._flow = bundle.manifest["flow"]
        vocoder = bundle.manifest.get("vocoder", {})
        # What the vocoder draws is left out of golden numbers.
        self._drawn = vocoder.get("source_lookahead_samples", 0) > 0
        self._per_frame = vocoder.get("samples_per_latent", 0)
        self._name = "mel" if "t2w_mel" in golden or "vocoder_mel" in golden else "latents"

    def rows(self) -> Iterator[Row]:
        if "t2w_codes" in self._golden:
            yield from self._replies()
        name = f"vocoder_{self._name}"
        if name in self._golden and "vocoder_wave" in self._golden:
            latents = self._golden[name]
            if self._name == "latents":
                latents = latents.reshape(self._flow["z"], -1).T
            yield self._wave("vocoder_wave", np.ascontiguousarray(latents, dtype=np.float32))
        if "field_out" in self._golden:
            yield self._field()
        if "stream_codes" in self._golden and "stream_mel" in self._golden:
            yield from self._stream()

    def _replies(self) -> Iterator[Row]:
        name, noise = f"t2w_{self._name}", self._golden.get("t2w_noise")
        if noise is None:
            yield skipped(name, "latents", "no t2w_noise in the golden file")
            return
        noise = np.ascontiguousarray(noise.reshape(-1, noise.shape[-1]), dtype=np.float32)
        codes = [int(code) for code in self._golden["t2w_codes"].ravel()]
        latents, first, final = self._bench.flow_decode(codes, noise)
        for key, ours in ((f"{name}_first_step", first), (name, final)):
            if key in self._golden:
                expected = self._golden[key].reshape(-1, noise.shape[-1])
                yield compare(key, "latents", ours, expected)
        if "t2w_wave" in self._golden:
            yield self._wave("t2w_wave", latents)

    def _wave(self, key: str, latents: Any) -> Row:
        expected = self._golden[key].ravel()
        if not self._drawn:
            return compare(key, "wave24k", self._bench.vocode(latents), expected)
        none = np.zeros(len(latents) * self._per_frame, np.float32)
        return compare(key, "wave_of_source", self._bench.vocode(latents, none), expected)

    def _field(self) -> Row:
        expected, z = self._golden["field_out"], self._flow["z"]
        draw = np.random.default_rng(int(self._golden.get("field_in_seed", 1)))
        batch, frames = expected.shape[:2]
        width = self._flow["hidden"] + 2 * z
        if self._name == "mel":  # channels of state, codes, voice and condition; one voice
            inputs = draw.standard_normal((batch, width, frames), np.float32)
            inputs = np.roll(inputs.transpose(0, 2, 1), -z, -1)
            inputs[..., z : 2 * z] = inputs[..., z : 2 * z].mean(1, keepdims=True)
        else:
            inputs = draw.standard_normal((batch, frames, width)).astype(np.float32)
        ours = self._bench.flow_field(np.ascontiguousarray(inputs), 0.25)
        return compare("field_out", "field", ours, expected)

    def _stream(self) -> Iterator[Row]:
        """As the published stream has them, as long as both see the same frames."""
        z, expected = self._flow["z"], self._golden["stream_mel"][:MEL_STREAM_FRAMES]
        draw = np.random.default_rng(MEL_NOISE_SEED)
        noise = draw.standard_normal((MEL_NOISE_FRAMES, z), np.float32)
        bench = self._bundle.workbench(noise=noise)
        codes = [int(code) for code in self._golden["stream_codes"].ravel()]
        ours = bench.flow_stream(codes)[: len(expected)]
        yield compare(f"stream_mel[:{len(expected)}]", "latents", ours, expected)
