"""Costs by arithmetic, against a table made by hand."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import parley
from parley_apps.benchmark.model import cost, simulate, sizes
from parley_apps.main import main
from parley_export.work import Work
from tolerances import COST_TABLE_REL

# Milliseconds per chunk: way -> device -> encoder, backbone, flow, vocoder, sum. From the table of
# physical limits that the project was planned with.
TABLE: dict[str, dict[str, tuple[float, ...]]] = {
    "upstream": {
        "h200": (2.9, 15.1, 21.3, 0.2, 39),
        "4090": (13.7, 71.9, 102, 1.0, 189),
        "4060-laptop": (75, 283, 562, 5.4, 925),
        "agx-orin": (54, 354, 401, 3.8, 813),
        "orin-nano": (133, 710, 991, 9.5, 1844),
        "m4-max": (66, 133, 496, 4.7, 699),
        "2-core": (18_080, 2415, 134_800, 1287, 156_600),
    },
    "faithful": {
        "h200": (0.3, 8.1, 1.6, 0.1, 10.1),
        "4090": (1.3, 38.7, 7.6, 0.3, 47.9),
        "4060-laptop": (5.2, 152, 29.8, 1.2, 189),
        "agx-orin": (6.5, 191, 37.2, 1.5, 236),
        "orin-nano": (13, 383, 74.7, 3.0, 473),
        "m4-max": (2.4, 71.5, 15.6, 0.9, 90.4),
        "2-core": (84, 1301, 4238, 247, 5870),
    },
    "balanced": {
        "h200": (0.2, 4.4, 0.4, 0.1, 5.0),
        "4090": (0.7, 20.8, 2.1, 0.3, 23.9),
        "4060-laptop": (2.8, 81.9, 8.3, 1.2, 94.1),
        "agx-orin": (3.6, 102, 10.3, 1.5, 118),
        "orin-nano": (7.1, 205, 20.7, 3.0, 236),
        "m4-max": (1.3, 38.4, 4.3, 0.9, 45.0),
        "2-core": (84, 699, 1177, 247, 2207),
    },
}


def half_a_digit(value: float) -> float:
    """Half of the last digit that the table shows."""
    return 0.5 if value == round(value) else 0.05


@pytest.mark.parametrize("name", simulate.DEVICES)
@pytest.mark.parametrize("way", cost.WAYS, ids=lambda way: way.name)
def test_the_published_sizes_against_the_table(way: cost.Way, name: str) -> None:
    told = simulate.simulate(sizes.published(), [way], simulate.DEVICES[name])[way.name]
    *stages, total = TABLE[way.name][name]
    got = [row["ms"] for row in told["stages"].values()]
    for ms, expected in zip([*got, told["ms"]], [*stages, total], strict=True):
        assert ms == pytest.approx(expected, rel=COST_TABLE_REL, abs=half_a_digit(expected))
    assert told["rtf"] == pytest.approx(told["ms"] / 160)


def test_a_chunk_by_hand() -> None:
    """One layer of everything, in numbers that can be followed."""
    published = sizes.published()
    flow = replace(published, field=Work(weights=13, macs=13, attention=4, cached=4))
    way = cost.Way("own", flow_frames=4, flow_keys=6, evaluations=2, guided=1, flow="f32")
    # Three branch-evaluations of four frames; 26 FLOPs of weights, 4 x 10 keys x 2 of attention.
    assert cost.flow_cost(flow, way).flops == 3 * 4 * (26 + 80)
    # Weights twice; keys and values of six frames in f16 for each branch and evaluation.
    assert cost.flow_cost(flow, way).n_bytes == 2 * 13 * 4 + 3 * 2 * 2 * 6 * 2
    # What is done once for the chunk's four frames comes on top.
    more = replace(flow, codes=Work(weights=5, macs=7))
    assert cost.flow_cost(more, way).n_bytes == cost.flow_cost(flow, way).n_bytes + 5 * 4
    assert cost.flow_cost(more, way).flops == cost.flow_cost(flow, way).flops + 2 * 4 * 7
    one = cost.Cost(30.0, 8.0)
    assert one.seconds(10.0, 4.0) == 3.0 and one.binds(10.0, 4.0) == "memory"
    assert one.seconds(100.0, 4.0) == 2.0 and one.binds(100.0, 4.0) == "arithmetic"


def test_a_bundle_tells_its_work(tiny_bundle: Path) -> None:
    manifest = parley.read_manifest(tiny_bundle)
    found = sizes.of_bundle(manifest)
    assert found.encoder.weights and found.field.cached and found.vocoder.activated
    assert found.codes == sizes.NONE, "the condition is not worth counting"
    vocabulary = manifest["vocabulary"]
    assert found.audio_share == vocabulary["audio_codes"] / manifest["backbone"]["vocab_size"]
    assert found.logits.bytes == 4 * found.logits.weights and found.backbone.bytes > 0
    del manifest["backbone"]["work"]
    with pytest.raises(parley.BundleError, match="export it again"):
        sizes.of_bundle(manifest)


def simulated(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["bench", "simulate", *arguments, "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out))


def legend(out: str) -> list[str]:
    """The rows that the lines under the tables explain."""
    lines = out.partition("m: memory binds")[2].splitlines()[1:]
    return [line.split()[0] for line in lines if line[2] != " "]


def test_upstream_over_a_bundle_has_its_voice_and_its_evaluations(tiny_bundle: Path) -> None:
    """It had the 1167 frames and 18 guided evaluations of the published model."""
    manifest = parley.read_manifest(tiny_bundle)
    flow = manifest["flow"] | {"solver": "euler", "points": 4, "guided_evaluations": 2}
    way = cost.upstream_way(manifest | {"flow": flow})
    voice = manifest["voices"][manifest["default_voice"]]["latents"]["shape"][0]
    assert way.flow_frames == voice + 96 and (way.evaluations, way.guided) == (3, 2)
    assert f"{voice} latent frames" in way.about and "3 evaluations, 2 of them" in way.about
    unguided = cost.upstream_way(manifest | {"flow": flow | {"guidance": 0.0}})
    assert unguided.guided == 0, "without guidance nothing runs both branches"


def test_the_command(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = simulated(["all"], capsys)
    assert told["sizes"] == "published" and len(told["devices"]) == len(simulate.DEVICES)
    told = simulated(["10GB/s,0.5TF", "--bundle", str(tiny_bundle)], capsys)
    (ways,) = told["devices"].values()
    assert list(ways) == ["upstream", "bundle"]
    assert ways["bundle"]["ms"] < ways["upstream"]["ms"]
    assert main(["bench", "simulate", "2-core", "--bundle", str(tiny_bundle)]) == 0
    assert legend(capsys.readouterr().out) == ["upstream", "bundle"]
    assert main(["bench", "simulate", "2-core"]) == 0
    out = capsys.readouterr().out
    assert legend(out) == ["upstream", "faithful", "balanced"] and "what parley cannot" in " ".join(
        out.split()
    )
    assert "2-core slice: 30 GB/s, 0.125 TFLOPS" in out and "RTF" in out


@pytest.mark.parametrize("text", ["toaster", "0GB/s,1TF", "1.2.3GB/s,1TF", "10GB/s", "10 GB/s,1TF"])
def test_an_unknown_device_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected one of h200"):
        simulate.device(text)
