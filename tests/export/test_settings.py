"""parley.json of a checkpoint: what it changes in a manifest, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import parley
from parley_export.errors import BundleError, InputError
from parley_export.families.covo_audio.settings import RANGES, Settings
from parley_export.settings import read_settings

pytest.importorskip("torch")
pytest.importorskip("onnx")

ROOT = Path(__file__).resolve().parents[2]
CHANGES = {
    "name": "other",
    "turns": False,
    "short_segments": True,
    "system": "",
    "context": 512,
    "duplex_prompt": "",
    "window_positions": 128,
    "max_reply_chunks": 40,
    "fade_ms": 60,
    "duplex_temperature": 0.0,
    "flow_mode": "window",
    "flow_solver": "euler",
    "flow_spacing": "cosine",
    "flow_points": 6,
    "flow_guided": 3,
    "flow_cache": "f16",
    "flow_prompt_codes": 7,
    "past_codes": 8,
    "lookahead_codes": 0,
    "vocoder_lookahead_frames": 4,
    "voices": {"a": "token2wav/prompt", "b": "second"},
}


def test_a_checkpoint_without_it_gets_the_defaults(tmp_path: Path) -> None:
    assert read_settings(tmp_path, Settings) == Settings()


def test_every_key_reaches_the_settings(tmp_path: Path) -> None:
    (tmp_path / "parley.json").write_text(json.dumps(CHANGES))
    assert read_settings(tmp_path, Settings) == Settings(**CHANGES)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"fade": 60, "windows": 1}', ["fade", "windows"]),
        ('{"fade_ms": "60", "turns": 1, "past_codes": -1}', ["fade_ms", "turns", "past_codes"]),
        ('{"flow_mode": "half", "flow_points": "3"}', ["flow_mode", "flow_points"]),
        ('{"window_positions": 0}', ["window_positions"]),
        ('{"duplex_temperature": -0.5}', ["duplex_temperature"]),
        ('{"duplex_temperature": NaN}', ["duplex_temperature", "0 to 100"]),
        ('{"flow_points": 1}', ["flow_points", "2 to 1000", "got 1"]),
        ('{"lookahead_codes": 5000000}', ["lookahead_codes", "0 to 1024", "got 5000000"]),
        # No conversation could be held.
        ('{"flow_mode": "exact"}', ["flow_mode", "'window', 'cached'", "got 'exact'"]),
        ('{"name": "", "duplex_prompt": "{user}"}', ["name", "duplex_prompt"]),
        ('{"duplex_prompt": "{system}{system}"}', ["duplex_prompt"]),
        ('{"voices": {"a": "../outside"}}', ["voices"]),
        ('{"voices": {"a/b": "inside"}}', ["voices"]),
        ("[]", ["JSON object"]),
        ("{", ["JSON object"]),
    ],
)
def test_refuses_what_it_does_not_know(tmp_path: Path, text: str, named: list[str]) -> None:
    (tmp_path / "parley.json").write_text(text)
    with pytest.raises(BundleError) as caught:
        read_settings(tmp_path, Settings)
    assert all(name in str(caught.value) for name in named)


# Setting -> its place in the manifest.
PLACES = {
    "context": ("limits", "context"),
    "window_positions": ("duplex", "window_positions"),
    "max_reply_chunks": ("duplex", "max_reply_chunks"),
    "fade_ms": ("duplex", "fade_ms"),
    "duplex_temperature": ("duplex", "sampling", "temperature"),
    "flow_points": ("flow", "points"),
    "flow_guided": ("flow", "guided_evaluations"),
    "flow_prompt_codes": ("flow", "prompt_codes"),
    "past_codes": ("flow", "past_codes"),
    "lookahead_codes": ("flow", "lookahead_codes"),
    "vocoder_lookahead_frames": ("vocoder", "lookahead_frames"),
}


@pytest.mark.parametrize("key", RANGES)
def test_ranges_are_those_of_the_engine(key: str, tiny_bundle: Path, tmp_path: Path) -> None:
    """The engine's reader takes both ends of a range and nothing beyond them."""
    least, most = RANGES[key]
    *way, last = PLACES[key]

    def refused(value: int) -> bool:
        written = json.loads((tiny_bundle / "manifest.json").read_text())
        section = written
        for name in way:
            section = section[name]
        section[last] = value
        (tmp_path / "manifest.json").write_text(json.dumps(written))
        try:
            parley.read_manifest(tmp_path)
        except parley.BundleError as error:
            # Other errors are about two values that do not fit each other.
            assert ".".join(PLACES[key]) in str(error)
            return "number from" in str(error)
        return False

    assert [refused(value) for value in (least - 1, least, most, most + 1)] == [1, 0, 0, 1]


def test_the_default_lookahead_is_what_the_sweep_says() -> None:
    """Of nano's rows that differ in it alone: the seam is that of whole utterances with it."""
    swept = json.loads((ROOT / "benchmarks/flow.json").read_text())["result"]
    own = {key: value for key, value in swept["own"].items() if key != "lookahead_codes"}
    rows = [row for row in swept["settings"] if all(row[key] == own[key] for key in own)]
    seams = {row["lookahead_codes"]: row["seam"] for row in rows}
    whole, default = swept["reference"]["seam"], seams[Settings().lookahead_codes]
    assert abs(default - whole) < abs(seams[0] - whole) / 4


def export(checkpoint: Path, out: Path, *, duplex: bool = True) -> dict:
    from parley_export.exporter import Options, export_bundle
    from parley_export.families.covo_audio.family import FAMILY
    from parley_export.family import USUAL
    from parley_export.progress import MemoryWatch

    options = Options(
        layout=FAMILY.locate(checkpoint, USUAL, ""), out=out, backbone="f32", duplex=duplex
    )
    with MemoryWatch() as memory:
        export_bundle(FAMILY, options, memory)
    return json.loads((out / "manifest.json").read_text())


@pytest.fixture
def duplex_only(tmp_path: Path) -> Path:
    from tiny_checkpoint import write_checkpoint

    folder = write_checkpoint(tmp_path / "checkpoint")
    (folder / "parley.json").write_text(json.dumps(CHANGES))
    shutil.copytree(folder / "token2wav/prompt", folder / "second")
    return folder


def test_a_bundle_for_duplex_alone(duplex_only: Path, tmp_path: Path) -> None:
    written = export(duplex_only, tmp_path / "bundle")
    assert written["name"] == "other" and written["turns"] is None
    assert "encoder_segment" not in written["graphs"] and "encoder_chunk" in written["graphs"]
    assert written["prompts"] == {"system": ""} and written["limits"]["context"] == 512
    duplex = written["duplex"]
    assert duplex["prompt"] == "" and duplex["sampling"]["temperature"] == 0
    assert [duplex[key] for key in ("window_positions", "max_reply_chunks", "fade_ms")] == [
        128,
        40,
        60,
    ]
    flow = {
        "mode": "window",
        "solver": "euler",
        "spacing": "cosine",
        "points": 6,
        "guided_evaluations": 3,
        "prompt_codes": 7,
        "past_codes": 8,
        "lookahead_codes": 0,
    }
    assert {key: written["flow"][key] for key in flow} == flow
    kinds = {t["name"]: t["type"] for t in written["graphs"]["flow_field"]["inputs"]}
    assert kinds["past_keys.0"] == "f16" and kinds["inputs"] == "f32"
    assert written["vocoder"]["lookahead_frames"] == 4
    assert list(written["voices"]) == ["a", "b"] and written["default_voice"] == "a"
    assert "parley.json" in written["source"]["sha256"]


def test_duplex_alone_needs_duplex(duplex_only: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--duplex"):
        export(duplex_only, tmp_path / "bundle", duplex=False)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"flow_points": 1}, "flow_points"),
        ({"context": 512}, "window_positions of at most the context, 512, got 4096"),
    ],
)
def test_settings_are_refused_before_any_work(
    settings: dict, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from parley_export import exporter
    from tiny_checkpoint import write_checkpoint

    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    (checkpoint / "parley.json").write_text(json.dumps(settings))
    monkeypatch.setattr(exporter, "write_bundle", lambda *_: pytest.fail("work has begun"))
    with pytest.raises(BundleError, match=named) as caught:
        export(checkpoint, tmp_path / "bundle")
    assert ".partial" not in str(caught.value)
