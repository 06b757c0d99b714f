"""A recording becomes a voice by models that stand in for the checkpoint's own."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from parley_export.errors import BundleError, InputError
from parley_export.families.step_audio_2 import recording
from parley_export.families.step_audio_2.modules import front_end

RATE = 48000


def write(path, nodes, inputs, output):
    graph = helper.make_graph(
        nodes,
        "stand_in",
        [helper.make_tensor_value_info(*entry) for entry in inputs],
        [helper.make_tensor_value_info(*output)],
        [helper.make_tensor("axis", TensorProto.INT64, [1], [1])],
    )
    opset = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), str(path))


@pytest.fixture
def token2wav(tmp_path):
    """A tokenizer that counts every fourth frame's loudest channel, a speaker that is a mean."""
    every = [helper.make_node("MaxPool", ["feats"], ["peaks"], kernel_shape=[4], strides=[4])]
    loudest = helper.make_node("ArgMax", ["peaks"], ["long"], axis=1, keepdims=0)
    keep = helper.make_node("Cast", ["feats_length"], ["unused"], to=TensorProto.INT64)
    whole = helper.make_node("Cast", ["long"], ["codes"], to=TensorProto.INT32)
    write(
        tmp_path / recording.TOKEN_MODEL,
        [*every, loudest, keep, whole],
        [("feats", TensorProto.FLOAT, [1, 128, "T"]), ("feats_length", TensorProto.INT32, [1])],
        ("codes", TensorProto.INT32, [1, "N"]),
    )
    mean = helper.make_node("ReduceMax", ["input", "axis"], ["output"], keepdims=0)
    write(
        tmp_path / recording.SPEAKER_MODEL,
        [mean],
        [("input", TensorProto.FLOAT, [1, "T", 80])],
        ("output", TensorProto.FLOAT, [1, 80]),
    )
    return tmp_path


def sound(seconds):
    draw = np.random.default_rng(1)
    return 0.1 * draw.standard_normal(int(seconds * RATE)).astype(np.float32)


def test_a_voice(token2wav):
    voice = recording.voice_of_recording(sound(2), RATE, token2wav)
    assert voice.tokens.shape == (50,) and voice.tokens.dtype == np.int32
    assert voice.latents.shape == (100, 80) and voice.speaker.shape == (80,)
    assert voice.tokens.min() >= 0 and voice.tokens.max() < front_end.N_MELS
    assert np.isfinite(voice.latents).all()


@pytest.mark.parametrize("seconds", [0.5, 18])
def test_too_short_and_too_long(token2wav, seconds):
    with pytest.raises(InputError, match=r"expected a recording of 1 to 17 s"):
        recording.voice_of_recording(sound(seconds), RATE, token2wav)


def test_a_missing_and_a_wrong_model(token2wav):
    (token2wav / recording.SPEAKER_MODEL).unlink()
    with pytest.raises(BundleError, match=r"expected the model .*campplus.onnx, got no such file"):
        recording.voice_of_recording(sound(2), RATE, token2wav)
    (token2wav / recording.TOKEN_MODEL).write_bytes(b"no model")
    with pytest.raises(BundleError, match=r"expected speech_tokenizer_v2_25hz.onnx to take 2"):
        recording.voice_of_recording(sound(2), RATE, token2wav)
