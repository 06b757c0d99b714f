"""Makes tests/golden_data/step_audio_2*.npz: the published code's numbers, and our own front end's.

    python tests/export/make_golden_step_audio_2.py REFERENCE.npz   (export, tests on PYTHONPATH)

step_audio_2.npz holds those arrays of the reference file that need no recording and from which none
can be heard. step_audio_2_synthetic.npz holds what our modules compute from a synthetic signal;
they are checked against the reference's recordings first.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from step_audio_2_models import models
from tiny_models import GOLDEN, largest_error, relative_error

import tolerances
from parley_export.families.step_audio_2.modules import encoder as counting
from parley_export.families.step_audio_2.modules import front_end
from synthetic_signal import synthetic_signal

# Sounds, and what repeats others or is drawn from a seed.
LEFT_OUT = ("turn1_wav16k", "t2w_noise", "t2w_source", "t2w_wave")
LEFT_OUT_ENDS = (
    "_log_mel_head",
    "_log_mel_tail",
    "_encoder",
    "_mel24k",
    "_fbank",
    "_s3_log_mel",
    "_batched",
)
N_SAMPLES = 20480  # at 16 kHz


def from_reference(golden: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays to keep, under their own names."""
    return {
        name: array
        for name, array in golden.items()
        if name not in LEFT_OUT and (name == "t2w_encoder" or not name.endswith(LEFT_OUT_ENDS))
    }


def from_sound(samples: torch.Tensor) -> dict[str, np.ndarray]:
    """Front ends, encoder and features of a signal at 16 kHz."""
    parts = models()
    log_mel = front_end.piece_log_mel(samples)
    encoded = parts.encoder(log_mel[None])
    count = counting.count_features(log_mel.shape[1], 2 * parts.encoder.config.hidden_rows)
    begin = samples[:16000]
    arrays = {
        "log_mel": log_mel,
        "encoder": encoded[0],
        "features": parts.adapter(encoded)[0, :count],
        "prep_fbank": front_end.speaker_filterbank(begin),
        "prep_mel24k": front_end.prompt_mel(begin).T,
        "prep_s3_log_mel": front_end.token_log_mel(begin),
    }
    return {name: array.contiguous().numpy() for name, array in arrays.items()}


def check(golden: dict[str, np.ndarray]) -> None:
    """Our numbers of the reference's own recording against its numbers."""
    ours = from_sound(torch.from_numpy(golden["turn1_wav16k"]))
    ours["log_mel_head"], ours["log_mel_tail"] = ours["log_mel"][:, :200], ours["log_mel"][:, -12:]
    for name in ("log_mel_head", "log_mel_tail"):
        assert largest_error(ours[name], golden[f"turn1_{name}"]) < tolerances.LOG_MEL_ABS, name
    for name in ("prep_fbank", "prep_mel24k", "prep_s3_log_mel"):
        assert largest_error(ours[name], golden[name]) < tolerances.LOG_MEL_ABS, name
    for name in ("encoder", "features"):
        assert relative_error(ours[name], golden[f"turn1_{name}"]) < tolerances.ENCODER_REL, name


if __name__ == "__main__":
    with np.load(sys.argv[1], allow_pickle=False) as file:
        reference = dict(file)
    check(reference)
    np.savez_compressed(GOLDEN / "step_audio_2.npz", **from_reference(reference))
    signal = torch.from_numpy(synthetic_signal(N_SAMPLES))
    synthetic = {
        name: array[:, :100] if "log_mel" in name else array[:64]
        for name, array in from_sound(signal).items()
    }
    np.savez_compressed(GOLDEN / "step_audio_2_synthetic.npz", **synthetic)
