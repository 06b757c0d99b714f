"""`parley verify`: every stage of the engine against golden numbers; knows the golden file's keys.

The keys are those that the published PyTorch code's numbers are stored under: turn1_* and turn2_*
for two recordings of one conversation, t2w_*, vocoder_* and field_* for the speech side.
"""

from __future__ import annotations

import argparse
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from parley_apps import errors, inside, options
from parley_apps.golden import Row, compare, skipped
from parley_apps.progress import Progress

if TYPE_CHECKING:
    import parley

RECORDINGS = ("question_a.wav", "question_b.wav")
# what NumPy raises for files that are damaged or something else
_UNREADABLE = (OSError, ValueError, EOFError, AttributeError, TypeError, BadZipFile, zlib.error)

EXAMPLES = """\
Runs every stage through the engine and compares it with golden numbers that the published code
gave. The ids of the prompts are the golden file's. The recordings are looked for beside the golden
file (question_a.wav and question_b.wav there or in ../audio), or given by --audio. Numbers that
need a recording which is not there are skipped and said so. Use a bundle in float32 (`parley
export --backbone f32`): a quantized one differs, and how much is what this command then tells.

examples:
  parley verify my.bundle --golden golden.npz
  parley verify my.bundle --golden golden.npz --audio a.wav b.wav --json

With --golden and --checkpoint the bundle's files run outside of the engine, in ONNX Runtime and
llama.cpp, for a family that has no engine side yet or to tell the exporter's doing from the
engine's. The checkpoint's modules give what no file of the bundle gives out.

  parley verify my.bundle --golden golden.npz --checkpoint CHECKPOINT

With --inside STAGE, the stage's graphs run on made-up inputs instead, and every value that a layer
of them gives is compared with what the checkpoint's PyTorch module gives there: the table says
where the two part first. Needs parley[export] and the checkpoint.

  parley verify my.bundle --inside vocoder --checkpoint CHECKPOINT
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = EXAMPLES
    parser.epilog = errors.EXIT_CODES_HELP
    options.add_bundle(parser)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--golden", type=Path, metavar="F.NPZ", help="the golden numbers")
    what.add_argument(
        "--inside",
        metavar="STAGE",
        help="look into a graph, or into all whose names begin so: encoder, flow, vocoder, ...",
    )
    parser.add_argument(
        "--checkpoint", type=Path, metavar="DIR", help="what the bundle was made from"
    )
    parser.add_argument(
        "--audio",
        nargs="+",
        type=Path,
        default=None,
        metavar="WAV",
        help="recordings of the first and the second turn",
    )
    options.add_machine(parser)
    options.add_json(parser, "the table")
    parser.set_defaults(usage=parser.error)


def run(args: argparse.Namespace) -> int:
    if args.inside is not None and args.checkpoint is None:
        args.usage("expected --checkpoint with --inside, got none")
    if args.inside is not None:
        return inside.run(args)
    progress = Progress()
    golden = load_golden(args.golden)
    if args.checkpoint is not None:
        rows = _told(progress, inside.compare_files(args.bundle, args.checkpoint, golden))
    else:
        recordings = find_recordings(args.golden, args.audio)
        progress.say(f"opening {args.bundle}")
        with options.open_bundle(args, kv="f32") as bundle:
            rows = _told(progress, compare_all(bundle, golden, recordings))
    compared = [row for row in rows if row.figure is not None]
    if not compared:
        _nothing_compared(args.golden)
    passed = all(row.passed for row in compared)
    worst = max(compared, key=lambda row: (not row.passed, row.strain))
    _print(rows, worst, passed, args)
    return errors.OK if passed else errors.DIFFERS


def _told(progress: Progress, rows: Iterator[Row]) -> list[Row]:
    """All of them, each told as it comes."""
    told = []
    for row in rows:
        progress.update(f"compared {row.stage}")
        told.append(row)
    progress.done()
    return told


def load_golden(path: Path) -> dict[str, Any]:
    """Arrays of a golden file by key. Raises InputError for any other file; runs no pickle."""
    from parley import InputError

    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except _UNREADABLE as error:
        raise InputError(
            f"[verify.read] expected a golden .npz file, got {path}: {error}; check the path"
        ) from error


def find_recordings(golden: Path, given: list[Path] | None) -> list[Path | None]:
    """The recordings of turn 1 and 2, None where there is none."""
    if given is not None:
        return [*given, None, None][:2]
    folders = (golden.parent, golden.parent / ".." / "audio", golden.parent / "audio")
    return [
        next((folder / name for folder in folders if (folder / name).is_file()), None)
        for name in RECORDINGS
    ]


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
    yield from _Backbone(bench, bundle.manifest, golden, features).rows()
    yield from _speech(bench, bundle.manifest, golden)


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
            "log_mel": "log_mel",
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
            "log_mel": lambda golden: self._log_mel(segments[0])[:, : golden.shape[1]],
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
            if n > 1 and last is None:
                yield from self._skip(turn, "no golden tokens of the turn before")
                return
            yield self._tokenizer(turn, ids)
            prompt = ids if last is None else [last, *ids]
            logits = self._bench.feed(prompt, features)
            self._bench.begin_turn(ids)
            tokens = [int(t) for t in self._golden.get(f"{turn}_greedy_tokens", [])]
            yield from self._turn(turn, logits, tokens)
            last = tokens[-1] if tokens else None

    def _tokenizer(self, turn: str, ids: list[int]) -> Row:
        """The prompt's ids to text and back."""
        text = b"".join(self._control.get(i) or self._bench.piece(i) for i in ids)
        ours = self._bench.tokenize(text.decode(errors="replace"), True)
        return compare(f"{turn}_input_ids", "tokens", np.array(ours), np.array(ids))

    def _turn(self, turn: str, logits: Any, tokens: list[int]) -> Iterator[Row]:
        key = f"{turn}_prefill_logits"
        if key in self._golden:
            yield compare(key, "logits", logits, self._golden[key])
        key = f"{turn}_step_logits"
        expected = self._golden.get(key)
        wanted = 0 if expected is None else len(expected)
        steps, picked = [logits], []
        for n, token in enumerate(tokens):
            picked.append(self._bench.pick(steps[-1]))
            if picked[-1] != token:  # what follows is measured along the golden path
                self._bench.begin_turn(self._penalised(turn, tokens[: n + 1]))
            if n + 1 < len(tokens):
                steps.append(self._bench.feed([token], None))
        if expected is not None:
            yield compare(key, "logits", np.stack(steps[:wanted]), expected)
        if tokens:
            ours = np.array(picked)
            yield compare(f"{turn}_greedy_tokens", "tokens", ours, np.array(tokens))

    def _penalised(self, turn: str, tokens: list[int]) -> list[int]:
        ids = self._golden[f"{turn}_input_ids"].ravel()
        return [*(int(i) for i in ids), *tokens]

    def _skip(self, turn: str, why: str) -> Iterator[Row]:
        kinds = {"prefill_logits": "logits", "step_logits": "logits", "greedy_tokens": "tokens"}
        for key, kind in kinds.items():
            if f"{turn}_{key}" in self._golden:
                yield skipped(f"{turn}_{key}", kind, why)


def _speech(bench: Any, manifest: dict[str, Any], golden: dict[str, Any]) -> Iterator[Row]:
    """Codes to latents to samples, the vocoder alone, one evaluation of the field."""
    if "t2w_codes" in golden:
        codes = [int(code) for code in golden["t2w_codes"].ravel()]
        noise = golden.get("t2w_noise")
        if noise is None:
            yield skipped("t2w_latents", "latents", "no t2w_noise in the golden file")
        else:
            noise = np.ascontiguousarray(noise.reshape(-1, noise.shape[-1]), dtype=np.float32)
            latents, first, final = bench.flow_decode(codes, noise)
            for key, ours in (("t2w_latents_first_step", first), ("t2w_latents", final)):
                if key in golden:
                    yield compare(key, "latents", ours, golden[key].reshape(-1, noise.shape[-1]))
            if "t2w_wave" in golden:
                wave = bench.vocode(latents)
                yield compare("t2w_wave", "wave24k", wave, golden["t2w_wave"].ravel())
    if "vocoder_latents" in golden and "vocoder_wave" in golden:
        z = manifest["flow"]["z"]
        latents = golden["vocoder_latents"].reshape(z, -1).T
        wave = bench.vocode(np.ascontiguousarray(latents, dtype=np.float32))
        yield compare("vocoder_wave", "wave24k", wave, golden["vocoder_wave"].ravel())
    if "field_out" in golden:
        expected, flow = golden["field_out"], manifest["flow"]
        seed = int(golden.get("field_in_seed", 1))
        shape = (*expected.shape[:2], flow["hidden"] + 2 * flow["z"])
        inputs = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
        yield compare("field_out", "field", bench.flow_field(inputs, 0.25), expected)


def _nothing_compared(path: Path) -> None:
    from parley import InputError

    raise InputError(
        f"[verify.compare] expected at least one key to compare in {path}, got none that could "
        "be; give the recordings with --audio, or another golden file"
    )


def _print(rows: list[Row], worst: Row, passed: bool, args: argparse.Namespace) -> None:
    if args.json:
        table = [
            {
                "stage": row.stage,
                "metric": row.metric,
                "figure": _finite(row.figure),
                "tolerance": row.tolerance,
                "pass": None if row.figure is None else row.passed,
                "note": row.note,
            }
            for row in rows
        ]
        figure = _finite(worst.figure)
        worst_row = {"stage": worst.stage, "figure": figure, "tolerance": worst.tolerance}
        print(json.dumps({"pass": passed, "worst": worst_row, "rows": table}))
        return
    print(f"{'stage':24s} {'metric':10s} {'figure':>10s} {'tolerance':>10s}")
    for row in rows:
        shown = "-" if row.figure is None else f"{row.figure:.3g}"
        verdict = "skipped" if row.figure is None else "pass" if row.passed else "FAIL"
        note = f"  ({row.note})" if row.note else ""
        figures = f"{shown:>10s} {row.tolerance:>10g}"
        print(f"{row.stage:24s} {row.metric:10s} {figures}  {verdict}{note}")
    failed = sum(not row.passed for row in rows)
    print(f"worst: {worst.stage}, {worst.metric} {worst.figure:.3g} of {worst.tolerance:g}")
    print("all within the tolerances" if passed else f"{failed} of {len(rows)} differ")


def _finite(figure: float | None) -> float | None:
    """JSON knows neither infinity nor NaN; 999 dB stands for equal waves."""
    if figure is None or np.isnan(figure):
        return None
    return float(np.clip(figure, -999.0, 999.0)) if np.isinf(figure) else float(figure)
