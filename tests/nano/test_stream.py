"""nano's ears as a stream in the engine: against the chunked reference; any cut of the input."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import parley
import tolerances

torch = pytest.importorskip("torch")

from train.shipped import BUNDLE, find, graph_name, read_graph, shipped_ears  # noqa: E402

from parley_export.families.covo_audio.encoder_graphs import export_encoder_chunk  # noqa: E402
from parley_export.families.covo_audio.modules import AudioAdapter, AudioEncoder  # noqa: E402
from parley_export.families.covo_audio.modules.front_end import (  # noqa: E402
    FrontEndConfig,
    chunk_log_mel,
    resample_input,
)

CHUNK = 3840
CHUNKS = 200  # 32 s: the encoder's 1500 positions start over, the left context slides


@pytest.fixture(scope="module")
def ears() -> tuple[AudioEncoder, AudioAdapter]:
    """Encoder and adapter with the weights that ship."""
    sizes = shipped_ears()
    encoder, adapter = AudioEncoder(sizes[0]), AudioAdapter(sizes[1])
    weights = read_graph(BUNDLE / "encoder_chunk.onnx")
    for part, prefix in ((adapter, "adapter."), (encoder, "")):
        part.load_state_dict(
            {n: find(weights, graph_name(prefix, n), t) for n, t in part.state_dict().items()}
        )
    return encoder.requires_grad_(False), adapter.requires_grad_(False)


@pytest.fixture(scope="module")
def full_precision(ears: tuple[AudioEncoder, AudioAdapter], tmp_path_factory) -> Path:
    """The shipped bundle, but for an encoder in float32: its half precision hides an error."""
    folder = tmp_path_factory.mktemp("nano") / "bundle"
    shutil.copytree(BUNDLE, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    left = manifest["duplex"]["left_context_frames"]
    info = export_encoder_chunk(*ears, folder / "encoder_chunk.onnx", left)
    manifest["graphs"]["encoder_chunk"] = info
    for name in (info["file"], *info["external"]):
        data = (folder / name).read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        manifest["files"][name] = {"bytes": len(data), "sha256": digest}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def speech() -> np.ndarray:
    """Noise in the rhythm of syllables, with pauses."""
    n = CHUNK * CHUNKS
    time_s = np.arange(n) / 24000
    rhythm = np.clip(np.sin(2 * np.pi * 4 * time_s), 0, None) * (np.sin(time_s) > -0.3)
    noise = np.random.default_rng(0).standard_normal(n)
    return (0.1 * noise * rhythm).astype(np.float32)


def test_features_equal_the_chunked_reference(ears, full_precision: Path) -> None:
    encoder, adapter = ears
    samples = speech()
    limits = {full_precision: tolerances.STREAM_REL, BUNDLE: tolerances.GRAPH_F16_REL}
    for folder, limit in limits.items():
        with parley.open(folder, threads=1) as bundle:
            found = bundle.workbench().chunk_features(samples)
            delay = bundle.session("duplex").input_delay_samples
        # The front end's look-ahead delays the stream by so many samples of silence.
        late = np.concatenate([np.zeros(delay, np.float32), samples])[: samples.size]
        config = FrontEndConfig(n_mels=encoder.config.n_mels)
        log_mel = chunk_log_mel(resample_input(torch.from_numpy(late), config), config)
        expected = adapter(encoder.forward_chunked(log_mel[None]))[0].numpy()
        assert found.shape == expected.shape == (CHUNKS, adapter.config.out_width)
        error = np.abs(found - expected).max() / np.abs(expected).max()
        assert error < limit, f"{folder.name}: {error:.1e}"


@pytest.mark.parametrize("cut", [1237, CHUNK, 40_000])
def test_any_cut_of_the_input_is_one_conversation(cut: int) -> None:
    samples = speech()[: 40 * CHUNK]
    runs = []
    with parley.open(BUNDLE, threads=1) as bundle:
        for size in (samples.size, cut):
            with bundle.session("duplex") as session:
                steps = [
                    step
                    for at in range(0, samples.size, size)
                    for step in session.feed(samples[at : at + size])
                ]
                assert session.position > 0
            runs.append(([s.events for s in steps], np.concatenate([s.samples for s in steps])))
    assert runs[0][0] == runs[1][0]
    np.testing.assert_array_equal(runs[0][1], runs[1][1])
