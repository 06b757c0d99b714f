"""Bundles of random weights: the blocks' values, what is made, what is kept."""

from __future__ import annotations

from dataclasses import replace

import gguf
import numpy as np
import pytest

import parley
from parley_export import random_gguf, shapes
from parley_export.families.covo_audio import published
from parley_export.families.covo_audio.family import FAMILY
from parley_export.progress import MemoryWatch
from parley_export.random_weights import WHOLE
from tolerances import DRAWN_DEVIATION_REL, DRAWN_MEAN

Q4, Q6 = gguf.GGMLQuantizationType.Q4_K, gguf.GGMLQuantizationType.Q6_K


@pytest.mark.parametrize(
    ("blocks", "kind"), [(random_gguf.q4_k_blocks, Q4), (random_gguf.q6_k_blocks, Q6)]
)
def test_blocks_hold_numbers_of_the_wanted_size(blocks, kind):
    values = gguf.dequantize(blocks(200, 0.02, np.random.default_rng(0)), kind)
    assert values.shape == (200, random_gguf.BLOCK)
    assert values.std() == pytest.approx(0.02, rel=DRAWN_DEVIATION_REL)
    assert abs(values.mean()) < DRAWN_MEAN * 0.02


def test_the_mixture_is_that_of_q4_k_m():
    """The published shape in Q4_K and Q6_K: half of two kinds of matrices finer."""
    model = FAMILY.token_model(FAMILY.random(WHOLE, FAMILY.settings()))
    kinds, sizes = random_gguf.tensor_kinds(model), random_gguf.tensor_bytes(model)
    config = model.config
    assert kinds["output.weight"] == "Q6_K" and kinds["token_embd.weight"] == "Q4_K"
    assert kinds["blk.5.attn_q.bias"] == kinds["output_norm.weight"] == "F32"
    down = [kinds[f"blk.{i}.ffn_down.weight"] for i in range(config.layers)]
    assert down == [kinds[f"blk.{i}.attn_v.weight"] for i in range(config.layers)]
    assert down.count("Q6_K") == config.layers // 2
    body = sum(n for name, n in sizes.items() if name.startswith("blk."))
    assert round(body / 1e9, 2) == 3.92 and round(sizes["output.weight"] / 1e9, 2) == 0.49


@pytest.mark.parametrize("stage", published.STAGES)
def test_one_stage_is_in_full_and_the_others_fit_to_it(stage):
    full, configs = published.stage_configs(WHOLE), published.stage_configs(stage)
    assert getattr(configs, stage) == getattr(full, stage)
    assert configs.adapter.out_width == configs.backbone.width
    assert configs.adapter.width == configs.encoder.width
    assert configs.audio_codes == configs.flow.codes and configs.flow.z == configs.vocoder.z
    others = [name for name in published.STAGES if name != stage]
    assert all(getattr(configs, name) != getattr(full, name) for name in others)


@pytest.fixture
def small(monkeypatch):
    """Every stage small, but wide enough for blocks of 256."""
    made = published.stage_configs("vocoder")
    backbone = replace(made.backbone, width=256, ffn_width=256, heads=4, kv_heads=4)
    configs = replace(
        made,
        backbone=backbone,
        adapter=replace(made.adapter, out_width=256),
        vocoder=published.stage_configs("flow").vocoder,
    )
    monkeypatch.setattr(published, "stage_configs", lambda stage: configs)


def planned(cache, **settings):
    wanted = FAMILY.settings(**settings)
    return shapes.plan(FAMILY, cache, ["backbone"], wanted, backbone="q4_k_m", graphs="f32")[0]


def test_a_made_bundle_speaks_and_is_kept(small, tmp_path):
    first = planned(tmp_path)
    assert not first.done and "to make" in shapes.describe([first])[0]
    with MemoryWatch() as memory:
        shapes.make(first, memory)
    again = planned(tmp_path)
    assert again.done and again.folder == first.folder and "is there" in shapes.describe([again])[0]
    assert not planned(tmp_path, window_positions=64).done, "other settings, another bundle"
    size = sum(file.stat().st_size for file in first.folder.rglob("*"))
    assert 0.5 < size / first.bytes < 1.5, "what was said before"
    with parley.open(first.folder, threads=1) as bundle:
        assert "measurements only" in bundle.notice
        with bundle.session("duplex", system="", temperature=1.0) as session:
            noise = np.random.default_rng(0).standard_normal((12, session.chunk_samples))
            steps = [session.step(0.1 * chunk) for chunk in noise.astype(np.float32)]
    assert any(step.floor == "speaking" for step in steps)
    assert all(np.isfinite(step.samples).all() for step in steps)


def test_bundles_of_other_versions_are_named(small, tmp_path):
    wanted = planned(tmp_path)
    wanted.folder.mkdir(parents=True)
    old = tmp_path / FAMILY.name / "0123abcd"
    old.mkdir()
    assert shapes.left_over(FAMILY, tmp_path) == [old]


def test_an_interrupted_bundle_is_made_anew(small, tmp_path, monkeypatch):
    wanted = planned(tmp_path)
    monkeypatch.setattr(shapes.RandomJob, "_graphs", interrupted)
    with pytest.raises(KeyboardInterrupt), MemoryWatch() as memory:
        shapes.make(wanted, memory)
    assert not planned(tmp_path).done and not list(wanted.folder.parent.iterdir())


def interrupted(job):
    raise KeyboardInterrupt


def test_a_full_disk_is_said_before_anything_is_written(small, tmp_path):
    wanted = replace(planned(tmp_path), bytes=1 << 60)
    with pytest.raises(OSError, match="free space"), MemoryWatch() as memory:
        shapes.make(wanted, memory)
    assert not list(wanted.folder.parent.iterdir())
