"""`parley eval quantization`: what types cost a bundle, stage by stage, on any recordings."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from parley_apps import machine, options
from parley_apps.evaluation import mixes
from parley_apps.progress import Progress

if TYPE_CHECKING:
    import parley
    from parley_apps.evaluation.measuring import Recording

RECORDINGS = 40
LIMIT = 15  # scenarios per kind and split
LONGEST_S = 660.0  # of a recording that is played: its tenth minute is of interest
SLOWER = 1.05  # times the reference's processor time; less is the noise of a shared machine
FORMATS = ("md", "csv", "json", "jsonl")

EXAMPLES = f"""\
Measures what quantization does to a bundle, one stage at a time and then together. The bundle plays
the recordings; each mix of types plays them too and is made to say the same (a teacher forces it),
so that every draw stands behind the same history. Told are, for text, audio codes and decisions
(THINK, SHIFT, BREAK) apart, llama.cpp's numbers: KL divergence, whether the likeliest id is the
same, change of the taken id's probability; ± is a standard error over recordings. Beside them: the
signal-to-noise ratio of each stage, the log-mel distance of the sound, what a recogniser hears
(parley[eval]) and DNSMOS (parley[mos]) where these are installed, speed, memory, size.

With --scenarios (as `parley eval duplex --help` has them) every mix also converses freely: whether
it behaves worse than the bundle by more than chance, and Full-Duplex-Bench v1's measures.

A mix names stages and types: encoder=int8+backbone=q4_k_m. Stages: {", ".join(mixes.STAGES)}.
Types: see `parley quantize --help`; kv is the backbone's cache: {", ".join(mixes.CACHES)}.
Without --mixes each stage is tried in each of its types, and all together in int8.

Bundles and results stay in the work folder: what is there is not done again.

examples:
  parley eval quantization my.bundle --recordings calls --work quantized
  parley eval quantization my.bundle --recordings calls --work quantized -o csv --plot knee.png \\
      --mixes backbone=q4_k_m encoder=int8+flow=int8 kv=q8_0
  parley eval quantization my.bundle --recordings calls --work quantized --recommend 12MB

JSON: about {{bundle, sha256, data_sha256, seed, machine, versions, command}}; rows: [{{mix, bytes,
stages, draws {{text, audio, decision}}, snr_db, log_mel_db, score, heard, speed, memory_mb, nodes,
behaviour}}]; recommended."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = EXAMPLES
    options.add_bundle(parser)
    add = parser.add_argument
    add("--recordings", type=Path, metavar="PATH", help="a recording, or a folder of recordings")
    add("--scenarios", type=Path, metavar="DIR", help="scenarios; also taken as recordings")
    add("--work", type=Path, required=True, metavar="DIR", help="for bundles and results")
    add("--mixes", type=mixes.mix, nargs="+", metavar="MIX", help="see above")
    add("--calibrate", type=Path, metavar="RUNS", help="recordings for the graphs' types")
    add("--imatrix", type=Path, metavar="RUNS", help="recordings for the backbone's types")
    add("--recommend", type=_budget, metavar="SIZE|MS", help="a mix for 12MB, or for steps of 8ms")
    add("-o", "--output", choices=FORMATS, default="md", help="default: md")
    add("--plot", type=Path, metavar="F.PNG", help="size against each loss, the knees marked")
    add(
        "--limit", type=options.count, default=RECORDINGS, metavar="N", help="recordings, by chance"
    )
    add("--scenario-limit", type=options.count, default=LIMIT, metavar="N", help="of each kind")
    add("--seed", type=options.natural, default=0, metavar="N", help="default: 0")
    add("--workers", type=options.count, default=2, metavar="N", help="default: 2")
    options.add_json(parser, "everything")


def run(args: argparse.Namespace) -> int:
    from parley.bundle_folders import find_bundle
    from parley.files import check_writable, write_atomically
    from parley_apps.evaluation import quantization_table

    if args.plot:
        from parley_apps import plot

        plot.check_installed()
        check_writable(args.plot)
    source = find_bundle(args.bundle)
    job = _Job(args, source)
    rows = job.rows(args.mixes or mixes.worth_a_look(job.manifest, args.calibrate is not None))
    result: dict[str, Any] = {"about": job.about(), "rows": rows}
    if args.recommend:
        result["recommended"] = job.recommend(rows, args.recommend)
    job.progress.done()
    if args.plot:
        from parley_apps.evaluation import quantization_plot

        write_atomically({args.plot: quantization_plot.to_png(result)})
    print("\n".join(quantization_table.lines(result, "json" if args.json else args.output)))
    return 0


class _Job:
    """One report under way: its bundle, its recordings, and what is in the work folder."""

    def __init__(self, args: argparse.Namespace, source: Path) -> None:
        import parley

        self.args, self.source, self.progress = args, source, Progress()
        self.manifest = parley.read_manifest(source)
        self.files = _recordings(args)
        args.work.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(hashlib.sha256(file.read_bytes()).digest())
        manifest = (source / "manifest.json").read_bytes()
        self.asked = {
            "bundle_sha256": hashlib.sha256(manifest).hexdigest(),
            "data_sha256": digest.hexdigest(),
            "recordings": len(self.files),
            "seed": args.seed,
            "scenarios": self._scenario_names(),
        }

    def about(self) -> dict[str, Any]:
        return {"bundle": str(self.manifest["name"]), **self.asked, **machine.circumstances()}

    def rows(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """The reference's row and those of the mixes, from their files where they were measured."""
        import parley

        rows, waiting = [], [mixes.REFERENCE, *names]
        with parley.open(self.source, threads=1) as reference:
            recordings = None
            for name in waiting:
                row = self._found(name)
                if row is None:
                    if recordings is None:
                        recordings = list(self._play(reference))
                    self.progress.say(f"measuring {name}")
                    row = self._measure(name, reference, recordings)
                rows.append(row)
        return self._compared(rows)

    def recommend(self, rows: list[dict[str, Any]], budget: tuple[str, float]) -> dict[str, Any]:
        """A mix for the budget, measured; adds its row."""
        from parley_apps.evaluation import recommendation

        name = recommendation.choose(rows, budget)
        if all(row["mix"] != name for row in rows):
            rows.append(self.rows([name])[1])
        row = next(row for row in rows if row["mix"] == name)
        return {"mix": name, "budget": budget[1], "of": budget[0], "cost": row}

    def _scenario_names(self) -> list[str]:
        return [s.name for s in self._scenarios()]

    def _scenarios(self) -> list[Any]:
        from parley_apps.evaluation import runs
        from parley_apps.evaluation.scenarios import load_scenarios

        if self.args.scenarios is None:
            return []
        found = [s for s in load_scenarios(self.args.scenarios) if s.kind not in ("noise", "long")]
        return runs.choose(found, self.args.scenario_limit, self.args.seed)

    def _play(self, reference: parley.Bundle) -> Iterator[Recording]:
        """The recordings and what the reference says to them, which is kept in the work folder."""
        import parley
        from parley_apps.evaluation import forced
        from parley_apps.evaluation.measuring import Recording

        folder = self.args.work / "reference"
        folder.mkdir(exist_ok=True)
        for n, file in enumerate(self.files):
            self.progress.update(f"the reference plays recording {n + 1} of {len(self.files)}")
            sound, rate = parley.read_audio(file)
            samples = reference.resample(sound[: int(LONGEST_S * rate)], rate)
            key = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
            stem = f"{self.asked['bundle_sha256'][:8]}-{key}-{self.args.seed}.npz"
            if not (folder / stem).is_file():
                forced.keep(forced.play(reference, samples, seed=self.args.seed), folder / stem)
            yield Recording(file.name, samples, forced.kept(folder / stem))

    def _measure(
        self, name: str, reference: parley.Bundle, recordings: list[Recording]
    ) -> dict[str, Any]:
        import parley
        from parley.files import write_atomically
        from parley_apps.evaluation import measuring, runs

        args, kv = self.args, mixes.parts(name).get("kv", "f16")
        bundle = mixes.bundle_of(self.source, name, args.work, (args.calibrate, args.imatrix))
        row: dict[str, Any] = {"asked": self.asked, "mix": name, **_sizes(bundle)}
        with parley.open(bundle, threads=1, kv=kv) as opened:  # type: ignore[arg-type]
            row |= measuring.losses(
                opened,
                recordings,
                seed=args.seed,
                workers=args.workers,
                tell=self.progress.update,
            )
            row["snr_db"] = measuring.stages(reference, opened, recordings)
            longest = max(recordings, key=lambda r: len(r.reference.codes))
            row["speed"] = measuring.speed(reference, opened, longest, args.seed)
            scenarios = self._scenarios()
            if scenarios and "duplex" in opened.modes:
                row["behaviour"] = runs.evaluate(
                    opened,
                    scenarios,
                    seed=args.seed,
                    workers=args.workers,
                    tell=self.progress.update,
                )
        row["memory_mb"] = measuring.memory_mb(bundle, kv)
        row["nodes"] = mixes.nodes(args.work, name)
        write_atomically({self._file(name): json.dumps(row).encode()})
        return row

    def _file(self, name: str) -> Path:
        return Path(self.args.work) / f"{name.replace(' ', '_')}.json"

    def _found(self, name: str) -> dict[str, Any] | None:
        """A row that was measured on the same recordings, with the same seed."""
        if not self._file(name).is_file():
            return None
        row: dict[str, Any] = json.loads(self._file(name).read_text(encoding="utf-8"))
        return row if row["asked"] == self.asked else None

    def _compared(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """With what got worse than the reference: in free conversations, and in size and speed."""
        from parley_apps.evaluation import comparison

        for row in rows[1:]:
            grown = any(row["stages"][s] > n for s, n in rows[0]["stages"].items())
            row["worse"] = grown and row["speed"]["ratio"] > SLOWER
        if "behaviour" in rows[0]:
            results = {row["mix"]: row["behaviour"] for row in rows}
            table = comparison.compare(results, {row["mix"]: row["bytes"] for row in rows})
            for row, told in zip(rows, table["rows"], strict=True):
                row["compared"] = {
                    k: told[k] for k in ("behaviour", "exact", "decisions", "replies")
                }
        return rows


def _sizes(bundle: Path) -> dict[str, Any]:
    """Bytes of all files, and of each stage's."""
    import parley
    from parley_export.quantization.types import stage_of

    manifest = parley.read_manifest(bundle)
    sizes = {name: entry["bytes"] for name, entry in manifest["files"].items()}
    stages: dict[str, int] = {
        name: sizes[manifest[name]["file"]] for name in mixes.DECODERS if manifest.get(name)
    }
    for name, graph in manifest["graphs"].items():
        own = sum(sizes[file] for file in (graph["file"], *graph["external"]))
        stages[stage_of(name)] = stages.get(stage_of(name), 0) + own
    return {"bytes": sum(sizes.values()), "stages": stages}


def _recordings(args: argparse.Namespace) -> list[Path]:
    """Those that are played, by chance but always the same. Raises InputError where none is."""
    from parley import InputError
    from parley_export.quantization.calibration import SUFFIXES

    path = args.recordings or args.scenarios
    if path is None:
        raise InputError(
            "[quantization.read] expected --recordings or --scenarios, got neither; name a folder "
            "of what users say to the model"
        )
    found = [path] if path.is_file() else sorted(p for p in path.glob("*") if p.suffix in SUFFIXES)
    if not found:
        raise InputError(
            f"[quantization.read] expected recordings (WAV or FLAC) in {path}, got none; check the "
            "path"
        )
    chosen = np.random.default_rng(args.seed).permutation(len(found))[: args.limit]
    return [found[i] for i in sorted(chosen)]


def _budget(value: str) -> tuple[str, float]:
    """An argparse type: ("bytes", n) for 12MB or 3.5GB, ("ms", n) for 8ms."""
    units = {"kb": ("bytes", 1e3), "mb": ("bytes", 1e6), "gb": ("bytes", 1e9), "ms": ("ms", 1.0)}
    number, unit = value[:-2], value[-2:].lower()
    try:
        of, factor = units[unit]
        amount = float(number) * factor
    except (KeyError, ValueError):
        amount = -1.0
    if not 0 < amount < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a size such as 12MB, or 8ms, got {value!r}")
    return of, amount
