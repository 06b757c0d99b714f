"""A report on quantization as Markdown, CSV, JSON or lines of JSON; knows its rows alone."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from parley_apps.evaluation import duplex_bench
from parley_apps.evaluation.divergence import KINDS, SPANS
from parley_apps.evaluation.table import percent

Row = Mapping[str, Any]


def lines(result: Mapping[str, Any], form: str) -> Iterator[str]:
    """The report in one of the forms md, csv, json, jsonl."""
    rows = result["rows"]
    if form == "json":
        yield json.dumps(result)
    elif form == "jsonl":
        for row in rows:
            yield json.dumps({**result["about"], **row})
    elif form == "csv":
        yield from _csv(rows, result["about"])
    else:
        yield from _markdown(result)


def flat(row: Row) -> dict[str, Any]:
    """A row as one level of names and numbers."""
    speed = row["speed"]
    told: dict[str, Any] = {"mix": row["mix"], "bytes": row["bytes"]}
    told |= {f"bytes_{stage}": n for stage, n in row["stages"].items()}
    for kind in KINDS:
        draws = row["draws"][kind] or {}
        for name in ("n", "kl_99", "kl_max", "change_rms"):
            told[f"{kind}_{name}"] = draws.get(name)
        for name in ("kl", "same_top", "change"):
            told[f"{kind}_{name}"] = draws.get(name, {}).get("mean")
            told[f"{kind}_{name}_error"] = draws.get(name, {}).get("error")
        for span in SPANS:
            found = draws.get("by_length", {}).get(span)
            told[f"{kind}_kl_{span.replace(' ', '_')}"] = found and found["mean"]
    told |= {f"snr_db_{stage}": db for stage, db in row["snr_db"].items()}
    told["log_mel_db"] = row["log_mel_db"] and row["log_mel_db"]["mean"]
    told["score"] = row["score"]
    told["heard"] = row["heard"] and row["heard"]["k"] / row["heard"]["n"]
    told |= {name: speed[name] for name in ("rtf", "ratio", "late", "joules_per_s")}
    told |= {f"step_ms_{p}": speed["step_ms"][f"{p}_ms"] for p in ("p50", "p95", "p99")}
    told["memory_mb"] = row["memory_mb"]
    return told


def _csv(rows: Sequence[Row], about: Mapping[str, Any]) -> Iterator[str]:
    fixed = {name: about[name] for name in ("bundle", "data_sha256", "bundle_sha256", "seed")}
    flats = [{**fixed, **flat(row)} for row in rows]
    out = io.StringIO()
    writer = csv.DictWriter(out, list(flats[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flats)
    yield out.getvalue().rstrip("\n")


def _markdown(result: Mapping[str, Any]) -> Iterator[str]:
    rows, about = result["rows"], result["about"]
    yield (
        f"{about['bundle']}, {about['recordings']} recordings (sha256 "
        f"{about['data_sha256'][:12]}), seed {about['seed']}; {about['machine']['cpu']}, "
        f"{about['machine']['cores']} cores"
    )
    yield ""
    yield from _table(
        [
            *("mix", "MB", *(f"KLD {kind}" for kind in KINDS), "same top % text", "audio"),
            *("decision", "log-mel dB", "heard", "DNSMOS"),
        ],
        [_losses(row) for row in rows],
    )
    yield ""
    yield "More of the draws: KLD 99 % / max, then mean and RMS change of the taken id's p in %."
    yield ""
    yield from _table(
        ["mix", *(f"{kind} {what}" for kind in KINDS for what in ("KLD", "change"))],
        [_tails(row) for row in rows],
    )
    yield ""
    yield "Signal to noise of each stage on the reference's inputs; KLD of audio by length."
    yield ""
    yield from _table(
        ["mix", "encoder dB", "flow dB", "vocoder dB", *SPANS], [_places(row) for row in rows]
    )
    yield ""
    yield "Speed on one thread, against the reference in the same run; late: steps over the period."
    yield ""
    yield from _table(
        ["mix", "RTF", "ratio", "p50 ms", "p99 ms", "late %", "peak MB", "J/s", "told"],
        [_speed(row) for row in rows],
    )
    if "compared" in rows[0]:
        yield from _behaviour(rows)
    if "recommended" in result:
        found = result["recommended"]
        unit = (
            f"{found['budget'] / 1e6:.1f} MB" if found["of"] == "bytes" else f"{found['budget']} ms"
        )
        yield ""
        yield f"For {unit}: {found['mix']}, {found['cost']['bytes'] / 1e6:.1f} MB."


def _losses(row: Row) -> list[str]:
    draws = [row["draws"][kind] for kind in KINDS]
    heard = row["heard"]
    return [
        row["mix"],
        f"{row['bytes'] / 1e6:.1f}",
        *(_with_error(d and d["kl"], 4) for d in draws),
        *(_with_error(d and {k: 100 * v for k, v in d["same_top"].items()}, 1) for d in draws),
        _with_error(row["log_mel_db"], 2),
        "-" if heard is None else f"{heard['k']}/{heard['n']}",
        "-" if row["score"] is None else f"{row['score']:.2f}",
    ]


def _tails(row: Row) -> list[str]:
    cells = [row["mix"]]
    for kind in KINDS:
        draws = row["draws"][kind]
        if draws is None:
            cells += ["-", "-"]
            continue
        change = {name: 100 * value for name, value in draws["change"].items()}
        cells.append(f"{draws['kl_99']:.3f} / {draws['kl_max']:.2f}")
        cells.append(f"{_with_error(change, 2)}, {100 * draws['change_rms']:.2f}")
    return cells


def _places(row: Row) -> list[str]:
    audio = row["draws"]["audio"] or {"by_length": dict.fromkeys(SPANS)}
    return [
        row["mix"],
        *(_db(row["snr_db"][stage]) for stage in ("encoder", "flow", "vocoder")),
        *(_with_error(audio["by_length"][span], 4) for span in SPANS),
    ]


def _speed(row: Row) -> list[str]:
    speed, joules = row["speed"], row["speed"]["joules_per_s"]
    return [
        row["mix"],
        f"{speed['rtf']:.4f}",
        f"{speed['ratio']:.2f}",
        f"{speed['step_ms']['p50_ms']:.1f}",
        f"{speed['step_ms']['p99_ms']:.1f}",
        f"{100 * speed['late']:.1f}",
        "-" if row["memory_mb"] is None else f"{row['memory_mb']:.0f}",
        "-" if joules is None else f"{joules:.2f}",
        "slower and larger" if row.get("worse") else "",
    ]


def _behaviour(rows: Sequence[Row]) -> Iterator[str]:
    kinds = ("turn", "pause", "backchannel", "interruption")
    yield ""
    yield (
        "Free conversations: right in %, and against the reference on the same scenarios worse / "
        "better with the chance of so uneven a split."
    )
    yield ""

    def share(told: Mapping[str, Any] | None) -> str:
        return "-" if told is None else f"{percent(told)} ({told['n']})"

    def change(told: Mapping[str, Any]) -> str:
        return f"-{told['worse']} / +{told['better']}, p {told['p']:.2g}"

    yield from _table(
        ["mix", *kinds, "exact", "decisions", "replies"],
        [
            [
                row["mix"],
                *(share(row["compared"]["behaviour"].get(kind)) for kind in kinds),
                share(row["compared"]["exact"]),
                *(change(row["compared"][what]) for what in ("decisions", "replies")),
            ]
            for row in rows
        ],
    )
    yield ""
    yield (
        "Full-Duplex-Bench v1's measures on these scenarios: takeover rate, and latency where "
        f"there is one. Published rows, on other recordings: {'; '.join(duplex_bench.PUBLISHED)}."
    )
    yield ""
    names = ("pause", "turn", "interruption", "backchannel")
    yield from _table(
        ["mix", *names],
        [
            [
                row["mix"],
                *(duplex_bench.line(row["behaviour"]["full_duplex_bench"])[n] for n in names),
            ]
            for row in rows
        ],
    )


def _with_error(told: Mapping[str, float] | None, digits: int) -> str:
    if not told:
        return "-"
    return f"{told['mean']:.{digits}f} ± {told['error']:.{digits}f}"


def _db(value: float | None) -> str:
    return "-" if value is None else "same" if value >= 199 else f"{value:.1f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for cells in (head, ["---"] * len(head), *rows):
        yield "| " + " | ".join(cells) + " |"
