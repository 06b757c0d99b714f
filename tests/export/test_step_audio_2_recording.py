"""A recording becomes a voice by models that stand in for the checkpoint's own."""

import numpy as np
import onnx
import pytest
import soundfile
from onnx import TensorProto, helper

from parley_apps.main import main
from parley_export.errors import BundleError, InputError
from parley_export.families.step_audio_2 import recording
from parley_export.families.step_audio_2.checkpoint import VOICE_FILES
from parley_export.families.step_audio_2.modules import front_end
from parley_export.voices import VoiceSizes, read_voice

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


def test_the_command(token2wav, tmp_path, capsys):
    """A folder that --voice takes; who speaks must have agreed, and that is said."""
    checkpoint, out = tmp_path / "checkpoint", tmp_path / "me.voice"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text('{"model_type": "step_audio_2"}')
    soundfile.write(tmp_path / "me.wav", sound(2), RATE)
    arguments = ["voice", str(tmp_path / "me.wav"), "--out", str(out)]
    arguments += ["--checkpoint", str(checkpoint), "--token2wav", str(token2wav)]
    assert main(arguments) == 0
    told = capsys.readouterr()
    assert "consent" in told.err and "Apache-2.0" in told.err and "50 codes" in told.out
    sizes = VoiceSizes(codes=128, z=80, speaker_width=80)
    voice = read_voice(out, VOICE_FILES, sizes)
    assert voice.tokens.shape == (50,) and voice.latents.shape == (100, 80)
    assert main(arguments) == 3  # it is there
    assert "another folder" in capsys.readouterr().err


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
