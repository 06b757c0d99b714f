"""`parley verify --checkpoint`: a bundle's files outside of the engine, beside their modules."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parley_apps import errors
from parley_apps.golden import TOLERANCES, Row, compare

if TYPE_CHECKING:
    from parley_export.family import Checkpoint, Family
    from parley_export.inside import Seen

TOLERANCE = TOLERANCES["features"][1]


def run(args: argparse.Namespace) -> int:
    """Prints a table for each graph of the stage; the first value that differs ends the search."""
    tables = dict(look(args.bundle, args.checkpoint, args.inside))
    first = next(
        ((name, row) for name, rows in tables.items() for row in rows if differs(row)), None
    )
    if args.json:
        print(json.dumps(as_json(tables, first)))
    else:
        print("\n".join(lines(tables, first)))
    return errors.OK if first is None else errors.DIFFERS


def differs(row: Seen) -> bool:
    return not row.distance <= TOLERANCE  # NaN does


def look(bundle: str, checkpoint: Path, stage: str) -> Iterator[tuple[str, list[Seen]]]:
    """Graph -> its values beside its modules', for the graphs that `stage` names or begins."""
    folder, manifest, family, read = opened(bundle, checkpoint)
    from parley_export import loading
    from parley_export.family import Choices
    from parley_export.inside import look_inside

    known = [
        part
        for part in family.parts(read, Choices(duplex=manifest["duplex"] is not None))
        if part.name in manifest["graphs"] and part.probe is not None
    ]
    wanted = [part for part in known if part.name.startswith(stage)]
    if not wanted:
        import parley

        names = ", ".join(part.name for part in known)
        raise parley.InputError(
            f"[verify.inside] expected one of the graphs {names}, or how some of them begin, got "
            f"{stage}; give --inside another"
        )
    for part in wanted:
        modules = {m.name: loading.load_module(m, read.read).float() for m in part.modules}
        entry = manifest["graphs"][part.name]
        assert part.probe is not None
        probe = part.probe(*modules.values())
        yield part.name, look_inside(folder / entry["file"], entry, modules, probe)


def compare_files(bundle: str, checkpoint: Path, golden: dict[str, Any]) -> Iterator[Row]:
    """A bundle's files, run outside of the engine, beside golden numbers."""
    folder, manifest, family, read = opened(bundle, checkpoint)
    if family.golden is None:
        import parley

        raise parley.InputError(
            f"[verify.compare] expected a family whose files can be run outside of the engine, got "
            f"{family.title}; leave --checkpoint out"
        )
    for key, kind, ours, theirs in family.golden(read, folder, manifest, golden):
        yield compare(key, kind, ours, theirs)


def opened(bundle: str, checkpoint: Path) -> tuple[Path, dict[str, Any], Family, Checkpoint]:
    """A bundle's folder and manifest, and the checkpoint that it was made from."""
    import parley
    from parley.bundle_folders import find_bundle

    try:
        from parley_export import families
        from parley_export.family import USUAL
    except ImportError as error:
        raise ImportError(
            f"[verify.inside] expected the packages of the exporter, got no {error.name}; "
            "pip install 'parley[export]'"
        ) from error
    folder, manifest = find_bundle(bundle), parley.read_manifest(bundle)
    family = families.of(checkpoint)
    return folder, manifest, family, family.read(family.locate(checkpoint, USUAL, ""))


def as_json(tables: dict[str, list[Seen]], first: tuple[str, Seen] | None) -> dict[str, Any]:
    return {
        "pass": first is None,
        "tolerance": TOLERANCE,
        "first": None if first is None else {"graph": first[0], "value": first[1].value},
        "graphs": {
            name: [
                {
                    "value": row.value,
                    "module": row.module,
                    "shape": row.shape,
                    "distance": row.distance if row.distance == row.distance else None,
                    "late": row.late,
                    "pass": not differs(row),
                }
                for row in rows
            ]
            for name, rows in tables.items()
        },
    }


def lines(tables: dict[str, list[Seen]], first: tuple[str, Seen] | None) -> Iterator[str]:
    """For people: a graph's values in its own order, and where they part from the modules'."""
    for name, rows in tables.items():
        yield f"{name}: {len(rows)} values, relative distance from the module's (late: by frames)"
        for row in rows:
            shape = "x".join(map(str, row.shape))
            verdict = "FAIL" if differs(row) else "pass"
            yield (
                f"  {row.value:32s} {row.module:48s} {shape:>14s} {row.distance:10.2e} "
                f"{row.late:6d}  {verdict}"
            )
    if first is None:
        yield f"all within {TOLERANCE:g}"
    else:
        yield f"first that differs by more than {TOLERANCE:g}: {first[1].value} of {first[0]}, " + (
            f"{first[1].module}"
        )
