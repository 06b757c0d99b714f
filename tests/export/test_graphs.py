"""The graphs compute what the modules compute, at two sizes and in both precisions."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from tiny_models import models, relative_error

import parley
import tolerances
from parley_export import contract
from parley_export.errors import InputError
from parley_export.families.covo_audio import encoder_graphs, flow_graphs, vocoder_graphs

EXPORTERS = {
    "encoder_segment": (encoder_graphs.export_encoder_segment, ("encoder", "adapter")),
    "encoder_chunk": (encoder_graphs.export_encoder_chunk, ("encoder", "adapter")),
    "flow_condition": (flow_graphs.export_flow_condition, ("flow",)),
    "flow_modulation": (flow_graphs.export_flow_modulation, ("flow",)),
    "flow_field": (flow_graphs.export_flow_field, ("flow",)),
    "vocoder": (vocoder_graphs.export_vocoder, ("vocoder",)),
}
TYPES = {"f32": np.float32, "f16": np.float16, "i64": np.int64}
ONNX_TYPES = {"f32": "tensor(float)", "f16": "tensor(float16)", "i64": "tensor(int64)"}
FLOW_CARRIED = 15  # latent frames
CASES = [("tiny", "f32"), ("other", "f32"), ("tiny", "f16"), ("other", "f16")]
LIMITS = {
    "f32": tolerances.GRAPH_REL,
    "f16": tolerances.GRAPH_F16_REL,
    "bf16": tolerances.GRAPH_BF16_REL,
}


class Bundle:
    """All graphs of one checkpoint, written and opened on first use."""

    def __init__(self, folder, checkpoint, precision):
        self.folder, self.precision = folder, precision
        self.parts, self.infos, self.sessions = models(checkpoint), {}, {}
        self.limit = LIMITS[precision]

    def info(self, name):
        if name not in self.infos:
            export, modules = EXPORTERS[name]
            parts = [getattr(self.parts, module) for module in modules]
            path = self.folder / f"{name}.onnx"
            self.infos[name] = export(*parts, path, precision=self.precision)
        return self.infos[name]

    def open(self, name):
        if name not in self.sessions:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads, options.log_severity_level = 1, 3
            options.register_custom_ops_library(parley.ops_library())
            file = str(self.folder / self.info(name)["file"])
            providers = ["CPUExecutionProvider"]
            self.sessions[name] = onnxruntime.InferenceSession(file, options, providers)
        return self.sessions[name]

    def cache(self, memory):
        """The field's keys and values in the type that its graph takes."""
        kinds = {t["name"]: TYPES[t["type"]] for t in self.info("flow_field")["inputs"]}
        return {name: array.astype(kinds[name]) for name, array in memory.items()}

    def run(self, name, **inputs):
        arrays = {k: v.numpy() if torch.is_tensor(v) else v for k, v in inputs.items()}
        return self.open(name).run(None, arrays)


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def bundle(request, tmp_path_factory):
    return Bundle(tmp_path_factory.mktemp("graphs"), *request.param)


def random(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))


@pytest.mark.parametrize("n_frames", [3000, 496, 17, 1])
def test_encoder_segment(bundle, n_frames):
    log_mel = random(1, 128, n_frames)
    encoded, features = bundle.run("encoder_segment", log_mel=log_mel)
    expected = bundle.parts.encoder(log_mel)
    assert relative_error(encoded, expected) < bundle.limit
    assert relative_error(features, bundle.parts.adapter(expected)) < bundle.limit
    assert features.shape[1] == -(-n_frames // 16)


def test_encoder_chunk_streams(bundle):
    log_mel, session = random(1, 128, 16 * 11), bundle.open("encoder_chunk")
    states = {
        contract.STATE_IN + s["name"]: np.full(s["shape"], s["initial"], TYPES[s["type"]])
        for s in bundle.info("encoder_chunk")["states"]
    }
    names, rows = [output.name for output in session.get_outputs()], []
    for chunk in log_mel.split(16, 2):
        got = dict(zip(names, session.run(None, {"log_mel": chunk.numpy(), **states}), strict=True))
        rows.append(got["features"])
        states = {n: got[n.replace(contract.STATE_IN, contract.STATE_OUT)] for n in states}
    expected = bundle.parts.adapter(bundle.parts.encoder.forward_chunked(log_mel))
    assert relative_error(np.concatenate(rows, 1), expected) < bundle.limit


def test_flow_condition(bundle):
    codes = torch.tensor([[3, -1, 0, bundle.parts.spec.codes - 1, 7]])
    expected = bundle.parts.flow.condition(codes)
    assert relative_error(bundle.run("flow_condition", codes=codes)[0], expected) < bundle.limit
    assert expected.shape == (1, 20, bundle.parts.spec.flow_width)


@pytest.mark.parametrize("n_times", [1, 18])
def test_flow_modulation(bundle, n_times):
    t, speaker = torch.linspace(0, 1, n_times), random(1, bundle.parts.spec.speaker_width)
    expected = bundle.parts.flow.modulation(t, speaker)
    got = bundle.run("flow_modulation", t=t, speaker=speaker)[0]
    assert relative_error(got, expected) < bundle.limit


def recall(spec, batch, rows, past=0):
    """Inputs of the field that say what it recalls: nothing but `past` hidden rows."""
    width, heads = spec.flow_width, spec.flow_heads
    head_width = width // heads
    mask = np.zeros(past + rows, np.float32)
    mask[:past] = encoder_graphs.MASKED
    memory = {
        "positions": np.arange(rows),
        "prompt_positions": np.arange(rows),
        "mask": mask,
        "carried": np.zeros((batch, FLOW_CARRIED, width), np.float32),
    }
    for i in range(spec.flow_layers):
        memory[f"prompt_keys.{i}"] = np.zeros((batch, heads, 0, head_width), np.float32)
        memory[f"prompt_values.{i}"] = np.zeros((batch, heads, head_width, 0), np.float32)
        memory[f"past_keys.{i}"] = np.zeros((batch, heads, past, head_width), np.float32)
        memory[f"past_values.{i}"] = np.zeros((batch, heads, past, head_width), np.float32)
    return memory


@pytest.mark.parametrize("shape", [(2, 37), (1, 5), (3, 120)])
def test_flow_field(bundle, shape):
    flow, spec = bundle.parts.flow, bundle.parts.spec
    inputs = random(*shape, spec.flow_width + 2 * spec.z)
    modulation = flow.modulation(torch.tensor([0.6]), random(1, spec.speaker_width))
    expected = flow.field(inputs, modulation)
    for past in (0, 8):  # nothing to recall, and a past of which nothing is filled yet
        memory = bundle.cache(recall(spec, *shape, past))
        got = bundle.run("flow_field", inputs=inputs, modulation=modulation, **memory)[0]
        assert relative_error(got, expected) < bundle.limit


def test_flow_field_streams(bundle):
    """Prompt, then pieces that recall it and a ring of past rows, against the module."""
    flow, spec = bundle.parts.flow, bundle.parts.spec
    width, n_prompt, window, ring = spec.flow_width + 2 * spec.z, 21, 12, 16
    modulation = flow.modulation(torch.tensor([0.6]), random(1, spec.speaker_width))
    names = [output.name for output in bundle.open("flow_field").get_outputs()]

    def run(inputs, memory):
        fed = bundle.cache(memory)
        out = bundle.run("flow_field", inputs=inputs, modulation=modulation, **fed)
        return dict(zip(names, out, strict=True))

    prompt = random(2, n_prompt, width)
    got = run(prompt, recall(spec, 2, n_prompt))
    velocity, first = flow.extend(prompt, modulation, flow.no_past(2))
    assert relative_error(got["velocity"], velocity) < bundle.limit
    memory = recall(spec, 2, 0, ring)
    memory["carried"] = got["rows"][:, -FLOW_CARRIED:]
    for i in range(spec.flow_layers):
        memory[f"prompt_keys.{i}"] = got[f"keys.{i}"]
        memory[f"prompt_values.{i}"] = got[f"values.{i}"].swapaxes(2, 3)

    past, done = flow.no_past(2), 0
    for n in (8, 8, 4, 8, 8, 1, 8):
        visible = min(done, window)
        slots = [frame % ring for frame in range(done - visible, done)]
        mask = np.full(ring, encoder_graphs.MASKED, np.float32)
        mask[slots] = 0.0
        memory["positions"] = n_prompt + done + np.arange(n)
        memory["prompt_positions"] = n_prompt + visible + np.arange(n)
        memory["mask"] = np.concatenate([mask, np.zeros(n, np.float32)])
        inputs = torch.randn(2, n, width, generator=torch.Generator().manual_seed(done))
        got = run(inputs, memory)

        rows = past.rows.shape[1]
        kept = past.select(torch.arange(rows - min(rows, window), rows))
        velocity, left = flow.extend(inputs, modulation, first.append(kept))
        assert relative_error(got["velocity"], velocity) < bundle.limit
        past = past.append(left)

        memory["carried"] = np.concatenate([memory["carried"], got["rows"]], 1)[:, -FLOW_CARRIED:]
        for i in range(spec.flow_layers):
            for name in ("keys", "values"):
                for j in range(n):
                    at = (done + j) % ring
                    memory[f"past_{name}.{i}"][:, :, at] = got[f"{name}.{i}"][:, :, j]
        done += n


def test_caches_in_half_precision(tmp_path):
    """A float32 graph whose keys and values go in and out as float16."""
    parts = models("tiny")
    info = flow_graphs.export_flow_field(parts.flow, tmp_path / "f.onnx", cache="f16")
    kinds = {t["name"]: t["type"] for t in [*info["inputs"], *info["outputs"]]}
    assert kinds["past_keys.1"] == kinds["values.0"] == "f16"
    assert kinds["inputs"] == kinds["carried"] == kinds["velocity"] == "f32"
    half = Bundle(tmp_path, "tiny", "f32")
    half.infos["flow_field"] = info
    half.limit = tolerances.GRAPH_F16_REL
    test_flow_field_streams(half)


@pytest.mark.parametrize("n_frames", [1, 2, 29])
def test_vocoder(bundle, n_frames):
    latents = random(1, bundle.parts.spec.z, n_frames)
    behind = bundle.parts.vocoder.config.full_lookahead
    wave, _ = bundle.run(
        "vocoder",
        latents=torch.nn.functional.pad(latents, (0, behind)),
        range=np.array([0, n_frames]),
        kept=np.array([n_frames]),
        **{"state_in.history": np.zeros(bundle.info("vocoder")["states"][0]["shape"], np.float32)},
    )
    assert wave.shape == (1, 1, 240 * (n_frames + behind))
    expected = bundle.parts.vocoder(latents)
    assert relative_error(wave[..., 240 * behind :], expected) < bundle.limit


def test_vocoder_in_bfloat16(tmp_path):
    """Every convolution of it multiplies so."""
    bundle = Bundle(tmp_path, "tiny", "bf16")
    test_vocoder(bundle, 29)
    info = bundle.info("vocoder")
    assert info["precision"] == "bf16"
    assert info["custom_ops"] == ["parley.Conv1d", "parley.SnakeBeta"]
    nodes = onnx.load(tmp_path / info["file"], load_external_data=False).graph.node
    assert "Conv" not in {node.op_type for node in nodes}


@pytest.mark.parametrize("name", EXPORTERS)
def test_info_says_what_the_file_holds(bundle, name):
    info, session = bundle.info(name), bundle.open(name)
    states = info.get("states", [])
    for prefix, tensors, found in (
        (contract.STATE_IN, info["inputs"], session.get_inputs()),
        (contract.STATE_OUT, info["outputs"], session.get_outputs()),
    ):
        expected = [*tensors, *({**s, "name": prefix + s["name"]} for s in states)]
        assert [tensor["name"] for tensor in expected] == [tensor.name for tensor in found]
        for tensor, real in zip(expected, found, strict=True):
            assert ONNX_TYPES[tensor["type"]] == real.type
            assert tensor["shape"] == [d if isinstance(d, int) else -1 for d in real.shape]
    assert info["precision"] == bundle.precision


@pytest.mark.parametrize("name", EXPORTERS)
def test_file_is_valid_and_has_no_loose_ends(bundle, name):
    info = bundle.info(name)
    path = bundle.folder / info["file"]
    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.load(str(path), load_external_data=False)
    opsets = [("", info["opset"]), *[("parley", 1)] * ("custom_ops" in info)]
    assert [(o.domain, o.version) for o in model.opset_import] == opsets
    weights = model.graph.initializer
    located = {e.value for w in weights for e in w.external_data if e.key == "location"}
    assert located == set(info["external"]) <= {info["file"] + ".data"}
    nodes = list(model.graph.node)
    for node in nodes:  # and those of branches, which are appended while this goes on
        nodes += [n for a in node.attribute if a.HasField("g") for n in a.g.node]
    used = {i for node in nodes for i in node.input}
    assert {w.name for w in weights} <= used
    half = onnx.TensorProto.FLOAT16
    if bundle.precision == "f16":
        assert all(w.data_type == half for w in weights if w.external_data)
    else:
        assert all(w.data_type != half for w in weights)


def test_chunk_graph_takes_another_left_context(tmp_path):
    parts = models("tiny")
    path = tmp_path / "chunk.onnx"
    info = encoder_graphs.export_encoder_chunk(
        parts.encoder, parts.adapter, path, left_context_frames=16
    )
    shapes = {state["name"]: state["shape"] for state in info["states"]}
    assert shapes["keys"] == shapes["values"] == [2, 4, 16, 16]
    onnx.checker.check_model(str(path), full_check=True)


def test_parameters_of_any_type_and_place_are_written(tmp_path):
    """Half-width parameters, as a mapped checkpoint holds them, give a float32 graph."""
    parts = models("tiny")
    exact = {n: p.bfloat16() for n, p in parts.flow.named_parameters()}
    flow = type(parts.flow)(parts.flow.config)
    flow.load_state_dict(exact, assign=True)
    flow_graphs.export_flow_condition(flow, tmp_path / "a.onnx")
    codes = torch.tensor([[3, -1, 9]])
    got = onnxruntime.InferenceSession(str(tmp_path / "a.onnx")).run(None, {"codes": codes.numpy()})
    assert relative_error(got[0], flow.float().condition(codes).detach()) < tolerances.GRAPH_REL


def test_unknown_precision_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"expected precision f32 or f16 or bf16, got 'f8'"):
        vocoder_graphs.export_vocoder(models("tiny").vocoder, tmp_path / "v.onnx", precision="f8")
    assert not list(tmp_path.iterdir())
