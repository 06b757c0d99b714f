"""Makes tests/golden_data/fun_audio_chat*.npz: the published code's numbers, and our front end's.

    python tests/export/make_golden_fun_audio_chat.py REFERENCE.npz   (export, tests on PYTHONPATH)

fun_audio_chat.npz holds those arrays of the reference file that need no recording and from which
none can be heard. fun_audio_chat_synthetic.npz holds what our modules compute from a synthetic
signal; they are checked against the reference's recordings first.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from fun_audio_chat_models import SPEC, models
from tiny_models import GOLDEN, largest_error, relative_error

import tolerances
from fun_audio_chat_layout import PREPROCESSOR
from parley_export.families.fun_audio_chat.modules import front_end
from synthetic_signal import synthetic_signal

CLIP = PREPROCESSOR["chunk_length"] * front_end.ENCODER_HZ
# Sounds, what they become, and what is the same in another form.
LEFT_OUT = ("wav16k", "log_mel", "log_mel_end", "encoder", "encoder_end", "projected")
LEFT_OUT_KEYS = ("clip116800_logits", "clip528000_logits", "demo_wave")
N_SAMPLES = 69120  # at 16 kHz: two blocks and a bit


def from_reference(golden: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays to keep, under their own names."""
    return {
        name: array
        for name, array in golden.items()
        if name not in LEFT_OUT_KEYS and name.partition("_")[2] not in LEFT_OUT
    }


def from_sound(samples: torch.Tensor) -> dict[str, np.ndarray]:
    """Front end, encoder, projection and features of a signal at 16 kHz."""
    parts = models()
    log_mel = front_end.log_mel(samples, SPEC.n_mels, CLIP)
    encoded = parts.encoder(log_mel[None])
    projected = parts.encoder.project(encoded)
    features = parts.tower.features(projected)[0]
    arrays = {
        "log_mel": log_mel,
        "encoder": encoded[0],
        "projected": projected[0],
        "features": front_end.place(features, front_end.count_features(len(samples), SPEC.group)),
    }
    return {name: array.contiguous().numpy() for name, array in arrays.items()}


def check(golden: dict[str, np.ndarray]) -> None:
    """Our numbers of the reference's own recordings against its numbers."""
    sound = torch.from_numpy(golden["turn1_wav16k"])
    ours = from_sound(sound)
    for name, got, tolerance in (
        ("log_mel", ours["log_mel"][:, :400], tolerances.LOG_MEL_ABS),
        ("log_mel_end", ours["log_mel"][:, -20:], tolerances.LOG_MEL_ABS),
    ):
        assert largest_error(got, golden[f"turn1_{name}"]) < tolerance, name
    for name, got in (
        ("encoder", ours["encoder"][:200]),
        ("encoder_end", ours["encoder"][-10:]),
        ("projected", ours["projected"]),
        ("features", ours["features"]),
    ):
        assert relative_error(got, golden[f"turn1_{name}"]) < tolerances.ENCODER_REL, name
    for samples, begin in ((960, 40000), (3200, 40000), (31840, 40000), (32160, 40000)):
        got = from_sound(sound[begin : begin + samples])["features"]
        assert relative_error(got, golden[f"clip{samples}_features"]) < tolerances.ENCODER_REL
    got = from_sound(sound.repeat(5)[:528000])["features"][145:]
    expected = golden["clip528000_features_from_145"]
    assert relative_error(got, expected) < tolerances.ENCODER_REL


if __name__ == "__main__":
    with np.load(sys.argv[1], allow_pickle=False) as file:
        reference = dict(file)
    check(reference)
    script = from_sound(torch.from_numpy(reference["turn2_wav16k"]))["features"]
    kept = from_reference(reference) | {"script_features": script}
    np.savez_compressed(GOLDEN / "fun_audio_chat.npz", **kept)
    synthetic = from_sound(torch.from_numpy(synthetic_signal(N_SAMPLES)))
    # The beginning, what lies around the blocks' edge, the end.
    cuts = {"log_mel": (1, [*range(60), -1]), "encoder": (0, [*range(90, 110), *range(-8, 0)])}
    for name, (axis, rows) in cuts.items():
        synthetic[name] = synthetic[name].take(rows, axis)
    np.savez_compressed(GOLDEN / "fun_audio_chat_synthetic.npz", **synthetic)
