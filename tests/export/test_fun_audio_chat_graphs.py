"""Fun-Audio-Chat's graphs against their modules, streams too; knows no published number."""

import numpy as np
import onnx
import pytest
import torch
from fun_audio_chat_models import SPEC, models
from step_audio_2_graphs import VocoderStream, opened
from tiny_models import relative_error, snr_db

import tolerances
from parley_export.families.fun_audio_chat import encoder_graphs, flow_graphs, head_graphs
from parley_export.harmonic_vocoder_graph import export_vocoder
from parley_export.modules.code_flow import LOOKAHEAD, PADDING

HEADS, HEAD_WIDTH, BLOCK = SPEC.field_heads, SPEC.field_head_width, 50


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    """Name -> session."""
    folder, tiny = tmp_path_factory.mktemp("graphs"), models()
    made = {
        "encoder_segment": (encoder_graphs.export_encoder_segment, tiny.encoder, tiny.tower),
        "head_slots": (head_graphs.export_head_slots, tiny.head),
        "head_input": (head_graphs.export_head_input, tiny.tower),
        "flow_encoder": (flow_graphs.export_flow_encoder, tiny.flow),
        "flow_modulation": (flow_graphs.export_flow_modulation, tiny.flow),
        "flow_field": (flow_graphs.export_flow_field, tiny.flow),
        "vocoder_with_noise": (export_vocoder, tiny.vocoder),
    }
    for name, (export, *modules) in made.items():
        export(*modules, folder / f"{name}.onnx")
        onnx.checker.check_model(str(folder / f"{name}.onnx"), full_check=True)
    return {name: opened(folder / f"{name}.onnx") for name in made}


@pytest.mark.parametrize("n_frames", [1, 2, 3, 4, 199, 200, 201, 203, 402, 730])
def test_encoder_segment(graphs, n_frames):
    log_mel = np.random.default_rng(n_frames).standard_normal((1, 128, n_frames), np.float32)
    encoded, features = graphs["encoder_segment"].run(None, {"log_mel": log_mel})
    expected = models().encoder(torch.from_numpy(log_mel))
    assert relative_error(encoded, expected) < tolerances.GRAPH_REL
    expected = models().tower.features(models().encoder.project(expected))
    assert relative_error(features, expected) < tolerances.GRAPH_REL


def test_a_turn_can_be_encoded_block_by_block(graphs):
    log_mel = np.random.default_rng(5).standard_normal((1, 128, 530), np.float32)
    whole = graphs["encoder_segment"].run(["features"], {"log_mel": log_mel})[0]
    parts = [
        graphs["encoder_segment"].run(["features"], {"log_mel": log_mel[:, :, at : at + 200]})[0]
        for at in range(0, 530, 200)
    ]
    assert relative_error(np.concatenate(parts, 1), whole) < tolerances.SAME_REL


def test_flow_encoder(graphs):
    """Runs of several lengths, the last one without anything behind it, against the whole."""
    flow, speaker = models().flow, np.ones((1, 192), np.float32)
    codes = np.append(np.random.default_rng(3).integers(0, SPEC.codes, 40), [PADDING] * LOOKAHEAD)
    rows, _ = flow.ahead(torch.from_numpy(codes)[None], flow.no_past())
    state, got = np.zeros((1, SPEC.lookahead_width, 2), np.float32), []
    for begin, n in ((0, 25), (25, 1), (26, 14)):
        feeds = {"codes": codes[None, begin : begin + n + LOOKAHEAD], "speaker": speaker}
        out, state = graphs["flow_encoder"].run(None, {**feeds, "state_in.lookahead": state})
        got.append(out)
    got = np.concatenate(got, 1)
    expected = rows.repeat_interleave(2, 1)
    assert relative_error(got[..., :80], expected) < tolerances.GRAPH_REL
    voice = flow.speaker(torch.from_numpy(speaker))[0]
    assert relative_error(got[0, -1, 80:], voice) < tolerances.GRAPH_REL


def test_flow_modulation(graphs):
    times = torch.tensor([0.0, 0.3, 0.9])
    feeds = {"t": times.numpy(), "speaker": np.zeros((1, 192), np.float32)}
    (got,) = graphs["flow_modulation"].run(None, feeds)
    expected = models().flow.decoder.estimator.modulation(times)
    assert relative_error(got, expected) < tolerances.GRAPH_REL


# ------------------------------------------------------------ field


def engine_rows(inputs):
    """The checkpoint's order of inputs to the engine's: codes, speaker, condition, state."""
    state, condition, said, voice = np.split(inputs, 4, -1)
    return np.concatenate([said, voice, condition, state], -1)


def feed(inputs, begin, past, carried, prompt=0):
    """One evaluation behind what `past` holds per layer; its first `prompt` rows as the prompt."""
    n = inputs.shape[1]
    feeds = {
        "inputs": engine_rows(inputs),
        "modulation": models().flow.decoder.estimator.modulation(torch.tensor([0.5])).numpy(),
        "positions": np.arange(begin, begin + n),
        "prompt_positions": np.arange(begin, begin + n),
        "carried": carried,
    }
    for i in range(SPEC.field_layers):
        keys, values = past[i]
        feeds[f"prompt_keys.{i}"] = keys[:, :, :prompt]
        feeds[f"prompt_values.{i}"] = values[:, :, :prompt].transpose(0, 1, 3, 2).copy()
        feeds[f"past_keys.{i}"] = keys[:, :, prompt:]
        feeds[f"past_values.{i}"] = values[:, :, prompt:]
    feeds["mask"] = np.zeros(past[0][0].shape[2] - prompt + n, np.float32)
    return feeds


@pytest.mark.parametrize("prompt", [0, 30])
def test_field_in_blocks(graphs, prompt):
    """Blocks behind cached ones: the same as the module's whole run with its mask for streams."""
    field, session = models().flow.decoder.estimator, graphs["flow_field"]
    inputs = np.random.default_rng(2).standard_normal((2, 130, 320)).astype(np.float32)
    modulation = field.modulation(torch.tensor([0.5]))
    expected = field(torch.from_numpy(inputs), modulation, field.block_mask(130))
    none = np.zeros((2, HEADS, 0, HEAD_WIDTH), np.float32)
    past, got = [(none, none)] * SPEC.field_layers, []
    carried = np.zeros((2, 30, 2 * SPEC.field_width), np.float32)
    names = [output.name for output in session.get_outputs()]
    for begin in range(0, 130, BLOCK):
        rows = inputs[:, begin : begin + BLOCK]
        feeds = feed(rows, begin, past, carried, prompt if begin else 0)
        out = dict(zip(names, session.run(None, feeds), strict=True))
        got.append(out["velocity"])
        carried = np.concatenate([carried, out["rows"]], 1)[:, -30:]
        own = [(out[f"keys.{i}"], out[f"values.{i}"]) for i in range(SPEC.field_layers)]
        past = [
            tuple(np.concatenate(pair, 2) for pair in zip(old, new, strict=True))
            for old, new in zip(past, own, strict=True)
        ]
    assert relative_error(np.concatenate(got, 1), expected) < tolerances.GRAPH_REL


# ------------------------------------------------------------ head and vocoder


def test_head_slots(graphs):
    head, draw = models().head, np.random.default_rng(4)
    hidden, text = torch.from_numpy(draw.standard_normal((2, 7, 64), np.float32))
    (got,) = graphs["head_slots"].run(None, {"hidden": hidden.numpy(), "text": text.numpy()})
    expected = head.input_matching(head.slots(hidden, text))
    assert relative_error(got, expected) < tolerances.GRAPH_REL


@pytest.mark.parametrize("cut", [1, 7, 50])
def test_a_stream_of_the_vocoder_is_the_whole(graphs, cut):
    vocoder, random = models().vocoder, np.random.default_rng(6)
    mel = random.standard_normal((1, 80, 33), np.float32) - 3
    noise = random.standard_normal((1, 1, 60 * 480), np.float32)
    late = vocoder.config.source_lookahead
    own = torch.from_numpy(noise[..., late : late + 33 * 480])
    expected = vocoder(torch.from_numpy(mel), own)[0, 0]
    session = graphs["vocoder_with_noise"]
    got = VocoderStream(session, vocoder.config).play(mel, noise, cut, 5)
    assert snr_db(got, expected) > tolerances.HARMONIC_WAVE_SNR_DB
    got = VocoderStream(session, vocoder.config).play(mel, noise, cut, 4)
    assert snr_db(got, expected) > tolerances.SHORT_LOOKAHEAD_SNR_DB


def test_the_published_sizes_look_five_frames_ahead():
    assert models().vocoder.config.full_lookahead == 5
