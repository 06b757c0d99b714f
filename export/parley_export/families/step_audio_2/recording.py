"""A recording to a voice's three arrays, by the models that lie with the checkpoint's decoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from parley_export.errors import BundleError, InputError
from parley_export.families.step_audio_2.modules import front_end
from parley_export.modules.sound import resample
from parley_export.voices import Voice

SPEAKER_MODEL, TOKEN_MODEL = "campplus.onnx", "speech_tokenizer_v2_25hz.onnx"
CODES_HZ = 25
LEAST_SECONDS, MOST_SECONDS = 1.0, 17.0  # the published decoder has room for no longer prompt
SLACK_CODES = 2  # between a recording's length and the codes that the model gives
RESAMPLER = {"zeros": 6, "rolloff": 0.99}


def voice_of_recording(samples: np.ndarray, rate: int, token2wav: Path) -> Voice:
    """What the decoder must know of a voice.

    Args:
        samples: mono, -1..1, `[n]`.
        token2wav: the folder that holds campplus.onnx and speech_tokenizer_v2_25hz.onnx.
    Raises:
        InputError: the recording is too short or too long.
        BundleError: a model is missing, or does not give what it should.
    """
    seconds = len(samples) / rate
    if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
        raise InputError(
            f"[voice.make] expected a recording of {LEAST_SECONDS:g} to {MOST_SECONDS:g} s, got "
            f"{seconds:.1f} s; cut it"
        )
    wave = torch.from_numpy(np.ascontiguousarray(samples, np.float32))
    heard, spoken = (
        resample(wave, rate, hz, **RESAMPLER) for hz in (front_end.ENCODER_HZ, front_end.VOCODER_HZ)
    )
    codes = _codes(token2wav / TOKEN_MODEL, heard)
    if abs(len(codes) - CODES_HZ * seconds) > SLACK_CODES:
        raise BundleError(
            f"[voice.make] expected about {CODES_HZ * seconds:.0f} codes of {TOKEN_MODEL} for "
            f"{seconds:.1f} s, got {len(codes)}; fetch the file again"
        )
    mel = front_end.prompt_mel(spoken).T.numpy()
    rows = np.minimum(np.arange(2 * len(codes)), len(mel) - 1)
    return Voice(
        tokens=codes.astype("<i4"),
        latents=np.ascontiguousarray(mel[rows], "<f4"),
        speaker=_speaker(token2wav / SPEAKER_MODEL, heard).astype("<f4"),
    )


def _codes(model: Path, samples: Tensor) -> np.ndarray:
    """`[n]` at ENCODER_HZ -> the tokenizer's codes `[m]`."""
    log_mel = front_end.token_log_mel(samples).numpy()[None]
    length = np.array([log_mel.shape[2]], np.int32)
    return _run(model, log_mel, length).reshape(-1).astype(np.int64)


def _speaker(model: Path, samples: Tensor) -> np.ndarray:
    """`[n]` at ENCODER_HZ -> the speaker's vector `[S]`."""
    return _run(model, front_end.speaker_filterbank(samples).numpy()[None]).reshape(-1)


def _run(model: Path, *inputs: np.ndarray) -> np.ndarray:
    """The first output of a model of somebody else, whose inputs have names of its own."""
    import onnxruntime

    if not model.is_file():
        raise BundleError(
            f"[voice.make] expected the model {model}, got no such file; fetch the checkpoint's "
            "token2wav folder whole"
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(model), options, ["CPUExecutionProvider"])
        names = [entry.name for entry in session.get_inputs()]
        found: np.ndarray = session.run(None, dict(zip(names, inputs, strict=True)))[0]
    except Exception as e:  # ONNX Runtime has a class for each of its codes
        told = str(e).splitlines()[0] if str(e) else type(e).__name__
        raise BundleError(
            f"[voice.make] expected {model.name} to take {len(inputs)} inputs of its published "
            f"kind, got {told}; fetch the file again"
        ) from e
    return found
