"""Makes tests/golden_data: what the published code computes, and our own front-end numbers.

    make golden REFERENCE=F.npz       (without it: only what our own code computes)

tiny.npz holds those arrays of the reference file that need no recording and from which none can be
heard. synthetic.npz holds what our modules compute from a synthetic signal; they were checked
against the reference's recordings first (errors below 2e-6).
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from tiny_models import GOLDEN, models

from parley_export.families.covo_audio.modules import front_end
from synthetic_signal import synthetic_signal

LEFT_OUT = ("turn1_wav16k", "turn1_log_mel", "turn1_encoder")
N_SAMPLES = 30720  # at 24 kHz: eight chunks


def from_reference(path: str) -> dict[str, np.ndarray]:
    """The arrays to keep, under their own names."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files if name not in LEFT_OUT}


@torch.no_grad()
def from_signal() -> dict[str, np.ndarray]:
    """Front end, encoder and features of the synthetic signal, in both forms."""
    config, parts = front_end.FrontEndConfig(), models("tiny")
    signal = torch.from_numpy(synthetic_signal(N_SAMPLES))
    wave = front_end.resample_input(signal, config)
    log_mel = front_end.segment_log_mel(wave, config)
    encoded = parts.encoder(log_mel[None])
    chunks = front_end.chunk_log_mel(wave, config)
    arrays = {
        "wav16k": wave,
        "log_mel": log_mel[:, :136],
        "encoder": encoded[0, :64:4],
        "features": parts.adapter(encoded)[0, :8],
        "chunk_log_mel": chunks,
        "chunk_features": parts.adapter(parts.encoder.forward_chunked(chunks[None]))[0],
    }
    return {name: array.contiguous().numpy() for name, array in arrays.items()}


if __name__ == "__main__":
    for reference in sys.argv[1:2]:
        np.savez_compressed(GOLDEN / "tiny.npz", **from_reference(reference))
    np.savez_compressed(GOLDEN / "synthetic.npz", **from_signal())
