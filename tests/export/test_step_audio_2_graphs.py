"""Step-Audio 2's encoder and flow graphs against their modules and the published numbers."""

import numpy as np
import onnx
import pytest
import torch
from step_audio_2_graphs import opened
from step_audio_2_models import models, prompt
from tiny_models import golden, relative_error

import tolerances
from parley_export.families.step_audio_2 import encoder_graphs, flow_graphs
from parley_export.modules.code_flow import PADDING

LAYERS, HEADS, HEAD_WIDTH = 2, 2, 16
N_CODES, N_NEW, N_AHEAD = 28, 25, 3


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    """Name -> session."""
    folder, tiny = tmp_path_factory.mktemp("graphs"), models()
    made = {
        "encoder_segment": (encoder_graphs.export_encoder_segment, tiny.encoder, tiny.adapter),
        "flow_encoder": (flow_graphs.export_flow_encoder, tiny.flow),
        "flow_modulation": (flow_graphs.export_flow_modulation, tiny.flow),
        "flow_field": (flow_graphs.export_flow_field, tiny.flow),
    }
    for name, (export, *modules) in made.items():
        export(*modules, folder / f"{name}.onnx")
        onnx.checker.check_model(str(folder / f"{name}.onnx"), full_check=True)
    return {name: opened(folder / f"{name}.onnx") for name in made}


def states(session):
    """Of a stream that begins: input -> zeros."""
    kinds = {"tensor(float)": np.float32, "tensor(int64)": np.int64}
    return {
        i.name: np.zeros(i.shape, kinds[i.type])
        for i in session.get_inputs()
        if i.name.startswith("state_in.")
    }


def step(session, state, **inputs):
    """One run: the first output, and the state after it."""
    outputs = [output.name for output in session.get_outputs()]
    found = dict(zip(outputs, session.run(None, {**inputs, **state}), strict=True))
    return found[outputs[0]], {name: found[name.replace("_in.", "_out.")] for name in state}


@pytest.mark.parametrize("n_frames", [3, 5, 56, 57, 58, 59, 61, 300])
def test_encoder_segment(graphs, n_frames):
    log_mel = np.random.default_rng(n_frames).standard_normal((1, 128, n_frames), np.float32)
    encoded, features = graphs["encoder_segment"].run(None, {"log_mel": log_mel})
    expected = models().encoder(torch.from_numpy(log_mel))
    assert relative_error(encoded, expected) < tolerances.GRAPH_REL
    assert relative_error(features, models().adapter(expected)) < tolerances.GRAPH_REL


# ------------------------------------------------------------ codes to what the field is given


def chunks(codes):
    """The golden codes as the published stream takes them, `[1, n]` each."""
    begin = 0
    while begin < len(codes):
        chunk = codes[begin : begin + N_CODES]
        whole = len(chunk) == N_CODES
        yield (chunk if whole else np.append(chunk, [PADDING] * N_AHEAD))[None]
        begin += N_NEW if whole else len(chunk)


def test_flow_encoder(graphs):
    """Priming and every chunk of the golden stream, against the module."""
    session, flow = graphs["flow_encoder"], models().flow
    codes, _, speaker = prompt(models().spec)
    primed = torch.cat([codes, codes[:, :N_AHEAD]], 1).numpy()
    state, kept = states(session), flow.encoder.create_state()
    voice = flow.speaker(speaker)[0].numpy()
    for chunk in [primed, *chunks(golden("step_audio_2")["stream_codes"])]:
        got, state = step(session, state, codes=chunk, speaker=speaker.numpy())
        expected, kept = flow.encode(torch.from_numpy(chunk), kept)
        assert relative_error(got[..., :80], expected) < tolerances.GRAPH_REL
        assert relative_error(got[0, -1, 80:], voice) < tolerances.GRAPH_REL


def test_flow_encoder_forgets(tmp_path):
    """Rows beyond the kept ones are as if they had never been, whatever the cuts."""
    flow = models().flow
    flow_graphs.export_flow_encoder(flow, tmp_path / "short.onnx", past_codes=20)
    session, speaker = opened(tmp_path / "short.onnx"), np.ones((1, 48), np.float32)
    random = np.random.default_rng(4)
    codes = random.integers(0, 243, (2, 600))
    codes[1, 300:] = codes[0, 300:]
    ends = []
    for row in codes:
        state = states(session)
        for begin in range(0, 590, 10):
            chunk = row[None, begin : begin + 10 + N_AHEAD]
            got, state = step(session, state, codes=chunk, speaker=speaker)
        ends.append(got)
        assert state["state_in.filled"] == 20
    # A block's rows see 20 codes back, so what the first block saw reaches on through the others.
    assert relative_error(ends[0], ends[1]) < tolerances.SAME_REL


def test_flow_modulation(graphs):
    flow = models().flow
    times = flow.times()[:-1]
    feeds = {"t": times.numpy(), "speaker": np.zeros((1, 48), np.float32)}
    (got,) = graphs["flow_modulation"].run(None, feeds)
    expected = flow.decoder.estimator.modulation(times)
    assert relative_error(got, expected) < tolerances.GRAPH_REL


# ------------------------------------------------------------ field


def feed(inputs, t, prompt_rows=None, past=None, carried=None):
    """Inputs of one evaluation; rows are per layer (keys, values) `[B, H, S, d]`."""
    batch, n = inputs.shape[:2]
    none = [(np.zeros((batch, HEADS, 0, HEAD_WIDTH), np.float32),) * 2] * LAYERS
    prompt_rows, past = prompt_rows or none, past or none
    feeds = {
        "inputs": inputs,
        "modulation": models().flow.decoder.estimator.modulation(torch.tensor([t])).numpy(),
        "positions": np.arange(n),
        "prompt_positions": np.arange(n),
        "mask": np.zeros(past[0][0].shape[2] + n, np.float32),
        "carried": np.zeros((batch, 2, 4 * 64), np.float32) if carried is None else carried,
    }
    for i in range(LAYERS):
        feeds[f"prompt_keys.{i}"] = prompt_rows[i][0]
        feeds[f"prompt_values.{i}"] = np.ascontiguousarray(prompt_rows[i][1].transpose(0, 1, 3, 2))
        feeds[f"past_keys.{i}"], feeds[f"past_values.{i}"] = past[i]
    return feeds


def evaluate(session, feeds):
    """Velocity, carried rows, and per layer (keys, values)."""
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(None, feeds), strict=True))
    own = [(found[f"keys.{i}"], found[f"values.{i}"]) for i in range(LAYERS)]
    return found["velocity"], found["rows"], own


def engine_rows(rows):
    """The checkpoint's order of inputs to the engine's: the state comes last."""
    return np.roll(rows, -80, -1)


def test_golden_field(graphs):
    numbers = golden("step_audio_2")
    draw = np.random.default_rng(int(numbers["field_in_seed"]))
    inputs = draw.standard_normal((2, 320, 30), np.float32).transpose(0, 2, 1).copy()
    inputs[:, :, 160:240] = inputs[:, :, 160:240].mean(1, keepdims=True)
    velocity, _, _ = evaluate(graphs["flow_field"], feed(engine_rows(inputs), 0.25))
    assert relative_error(velocity, numbers["field_out"]) < tolerances.ENCODER_REL


def test_field_behind_prompt_and_past(graphs):
    """Three cuts, the first as prompt: the same as the module with the same past."""
    field, session = models().flow.decoder.estimator, graphs["flow_field"]
    rows = np.random.default_rng(2).standard_normal((2, 23, 320)).astype(np.float32)
    modulation, past = field.modulation(torch.tensor([0.5])), field.no_past(2)
    known, carried, recent = None, None, None
    for begin, end in ((0, 9), (9, 10), (10, 23)):
        expected, own = field(torch.from_numpy(rows[:, begin:end]), modulation, past)
        past = [
            type(new)(
                new.carried,
                *(
                    torch.cat(pair, 2)
                    for pair in zip((old.keys, old.values), (new.keys, new.values), strict=True)
                ),
            )
            for old, new in zip(past, own, strict=True)
        ]
        feeds = feed(engine_rows(rows[:, begin:end]), 0.5, known, recent, carried)
        velocity, carried, layers = evaluate(session, feeds)
        assert relative_error(velocity, expected) < tolerances.GRAPH_REL
        if known is None:
            known = layers
        elif recent is None:
            recent = layers


def test_masked_rows_of_the_past_are_not_seen(graphs):
    rows = np.random.default_rng(3).standard_normal((2, 8, 320)).astype(np.float32)
    _, _, past = evaluate(graphs["flow_field"], feed(rows, 0.5))
    seen = feed(rows, 0.5, past=[tuple(part[:, :, :5] for part in pair) for pair in past])
    hidden = feed(rows, 0.5, past=past)
    hidden["mask"][5:8] = -10000
    expected = evaluate(graphs["flow_field"], seen)[0]
    assert relative_error(evaluate(graphs["flow_field"], hidden)[0], expected) < tolerances.SAME_REL
