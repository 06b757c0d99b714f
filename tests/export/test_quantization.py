"""From a bundle to a smaller one: graphs node by node, whole bundles, and what is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import parley
import tolerances
from synthetic_signal import synthetic_signal

onnx = pytest.importorskip("onnx", reason="no onnx; pip install 'parley[quantize]'")
onnxruntime = pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from parley_apps.benchmark.sound_distance import snr_db  # noqa: E402
from parley_apps.main import main  # noqa: E402
from parley_export.quantization import plain, store, tools  # noqa: E402
from parley_export.quantization.types import TYPES  # noqa: E402

IN, OUT, FRAMES = 64, 96, 5


def weight(name: str, *shape: int) -> Any:
    values = np.random.default_rng(len(name)).standard_normal(shape).astype(np.float32)
    return numpy_helper.from_array(values, name)


def model(nodes: list[Any], weights: list[Any], shape: list[int], out: list[int]) -> Any:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "test",
        [value("x", TensorProto.FLOAT, shape)],
        [value("y", TensorProto.FLOAT, out)],
        weights,
    )
    opsets = [helper.make_opsetid("", 20)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def product() -> Any:
    """Columns behind a weight, as the flow decoder computes."""
    nodes = [helper.make_node("MatMul", ["w", "x"], ["y"], name="product")]
    return model(nodes, [weight("w", OUT, IN)], [IN, FRAMES], [OUT, FRAMES])


def convolution() -> Any:
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["y"], name="conv", dilations=[2], pads=[4, 0])
    ]
    return model(nodes, [weight("w", OUT, IN, 3), weight("b", OUT)], [1, IN, 9], [1, OUT, 9])


def ran(graph: Any, folder: Path, x: np.ndarray) -> np.ndarray:
    path = folder / "graph.onnx"
    store.save(graph, path)
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(parley.ops_library())
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    result: np.ndarray = session.run(None, {"x": x})[0]
    return result


def error(got: np.ndarray, want: np.ndarray) -> float:
    return float(np.abs(got - want).max() / np.abs(want).max())


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((IN, FRAMES)).astype(np.float32)


def test_a_product_of_weights_and_columns_is_turned(x: np.ndarray, tmp_path: Path) -> None:
    graph = product()
    want = ran(product(), tmp_path, x)
    plain.turn_products(graph)
    assert tools.products(graph) == ["product"]
    assert error(ran(graph, tmp_path, x), want) < tolerances.SAME_REL


@pytest.mark.parametrize("name", ["int8", "w8", "w4", "w4_gptq", "int8_static"])
def test_products_in_few_bits(name: str, x: np.ndarray, tmp_path: Path) -> None:
    graph, kind = product(), TYPES[name]
    want = ran(product(), tmp_path, x)
    plain.turn_products(graph)
    graph = tools.quantize(graph, kind, [{"x": x}] * 2)
    assert sum(tools.count(graph).values()) == 1
    limit = tolerances.PRODUCT_REL[kind.bits]
    assert 0.0 < error(ran(graph, tmp_path, x), want) < limit


@pytest.mark.parametrize("rest", ["f16", "bf16", "i8"])
def test_weights_are_kept_small_and_come_back_near(rest: str, tmp_path: Path) -> None:
    graph, kept = convolution(), store.Kept()
    x = np.random.default_rng(1).standard_normal((1, IN, 9)).astype(np.float32)
    want = ran(convolution(), tmp_path, x)
    store.keep_weights(graph, rest, kept)
    got = ran(graph, tmp_path, x)
    assert 0.0 < error(got, want) < tolerances.KEPT_REL[rest]
    assert sum(kept.nodes.values()) == 1
    size = (tmp_path / "graph.onnx.data").stat().st_size
    assert size < (0.30 if rest == "i8" else 0.55) * 4 * OUT * IN * 3


def test_a_convolution_in_bfloat16_becomes_plain_again(tmp_path: Path) -> None:
    graph, kept = convolution(), store.Kept()
    store.keep_weights(graph, "bf16", kept)
    assert dict(kept.nodes) == {("Conv", "Conv1d"): 1}
    assert [n.op_type for n in graph.graph.node if n.domain == "parley"] == ["Conv1d"]
    plain.plain(graph)
    assert tools.convolutions(graph) == ["conv"]


def test_half_precision_inside_goes_and_the_outside_stays(tmp_path: Path) -> None:
    half = numpy_helper.from_array(np.ones((IN, OUT), np.float16), "w")
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], name="in", to=TensorProto.FLOAT16),
        helper.make_node("MatMul", ["h", "w"], ["m"], name="product"),
        helper.make_node("Cast", ["m"], ["y"], name="out", to=TensorProto.FLOAT),
    ]
    graph = model(nodes, [half], [FRAMES, IN], [FRAMES, OUT])
    value = helper.make_tensor_value_info
    graph.graph.output.append(value("m", TensorProto.FLOAT16, [FRAMES, OUT]))
    plain.plain(graph)
    kinds = [v.type.tensor_type.elem_type for v in graph.graph.output]
    assert kinds == [TensorProto.FLOAT, TensorProto.FLOAT16]
    assert tools.products(graph) == ["product"]
    x = np.full((FRAMES, IN), 1.0 + 2.0**-12, np.float32)  # half precision would lose the rest
    assert (
        error(ran(graph, tmp_path, x), np.full((FRAMES, OUT), IN * x[0, 0])) < tolerances.SAME_REL
    )


@pytest.fixture(scope="module")
def small(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("quantized") / "small"
    stages = ["--encoder", "int8", "--flow", "int8", "--vocoder", "int8", "--backbone", "q8_0"]
    assert main(["quantize", str(tiny_bundle), "--out", str(out), *stages]) == 0
    return out


def test_a_bundle_in_a_smaller_bundle_out(tiny_bundle: Path, small: Path) -> None:
    before, after = (parley.read_manifest(path) for path in (tiny_bundle, small))
    sizes = [sum(e["bytes"] for e in m["files"].values()) for m in (before, after)]
    assert sizes[1] < 0.5 * sizes[0]
    assert {g["precision"] for g in after["graphs"].values()} == {"int8"}
    assert after["backbone"]["precision"] == "q8_0"
    made = after["created_by"]
    assert (
        made["quantized_from"]
        == hashlib.sha256((tiny_bundle / "manifest.json").read_bytes()).hexdigest()
    )
    assert made["quantized"] == "encoder int8, flow int8, vocoder int8, backbone q8_0"
    # Everything else is as it was.
    for key in before.keys() - {"created_by", "files", "graphs", "backbone"}:
        assert after[key] == before[key]
    for name, graph in before["graphs"].items():
        for key in ("inputs", "outputs", "states", "custom_ops"):
            assert after["graphs"][name].get(key) == graph.get(key)


def streamed(stream: Any, latents: np.ndarray, cut: int) -> np.ndarray:
    """A reply through the vocoder, so many latent frames at a time."""
    ends = range(cut, len(latents) + cut, cut)
    return np.concatenate(
        [stream.push(latents[end - cut : end], last=end >= len(latents)) for end in ends]
    )


def test_streams_of_a_quantized_bundle_are_one_with_its_whole(small: Path) -> None:
    with parley.open(small, threads=1) as bundle:
        bench = bundle.workbench()
        codes = [n % bundle.manifest["vocabulary"]["audio_codes"] for n in range(24)]
        latents = bench.flow_stream(codes, 0, 4)
        assert np.array_equal(bench.flow_stream(codes, 0, 2), latents)
        full = bundle.manifest["vocoder"]["full_lookahead_frames"]
        waves = [streamed(bench.vocoder_stream(full), latents, cut) for cut in (16, 7)]
        assert snr_db(waves[1], waves[0]) > tolerances.STREAM_SNR_DB
        sound = synthetic_signal(3 * bundle.rate, bundle.rate)
        with bundle.session("duplex") as session:
            whole = [step.samples for step in session.feed(sound)]
            session.reset()
            cut = [s.samples for part in np.split(sound, [1000, 5000]) for s in session.feed(part)]
        assert np.array_equal(np.stack(whole), np.stack(cut))


def test_importance_makes_another_backbone(
    tiny_bundle: Path, recording: Path, tmp_path: Path
) -> None:
    command = ["quantize", str(tiny_bundle), "--backbone", "q4_0"]
    assert main([*command, "--out", str(tmp_path / "a")]) == 0
    assert main([*command, "--out", str(tmp_path / "b"), "--imatrix", str(recording)]) == 0
    files = [(tmp_path / name / "backbone.gguf").read_bytes() for name in "ab"]
    assert len(files[0]) <= len(files[1]) and files[0] != files[1]
    made = parley.read_manifest(tmp_path / "b")["created_by"]
    assert made["calibration"].startswith("1 recordings, ")
    assert made["quantized"] == "backbone q4_0 with importance"


def test_what_became_of_the_nodes_is_told(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    assert main(["quantize", str(tiny_bundle), "--out", out, "--flow", "w4", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    graph = onnx.load(tiny_bundle / "flow_field.onnx", load_external_data=False)
    known = plain.weights(graph.graph)
    constant = [
        n
        for n in graph.graph.node
        if n.op_type == "MatMul" and not known.keys().isdisjoint(n.input)
    ]
    assert told["nodes"]["flow_field"]["MatMulNBits"] == len(constant)
    assert told["stages"]["encoder"]["bytes"] == told["stages"]["encoder"]["source_bytes"]


@pytest.mark.parametrize(
    "arguments, expected",
    [
        ([], "a type for one of the stages"),
        (
            ["--vocoder", "w4"],
            "[quantize.vocoder] expected one of f32, f16, bf16, int8, int8_static",
        ),
        (["--encoder", "int7"], "[quantize.encoder] expected one of keep, f32"),
        (["--flow", "int8_static"], "[quantize.flow] expected recordings for int8_static"),
        (["--backbone", "f16"], "[quantize.backbone] expected a type smaller than its f32"),
        (["--head", "q8_0"], "[quantize.head] expected a bundle with a head, got one without"),
        (["--encoder", "int8", "--imatrix", "."], "[quantize.backbone] expected a --backbone"),
        (["--encoder", "w4_gptq", "--calibrate", "{empty}"], "expected recordings (WAV or FLAC)"),
    ],
)
def test_what_cannot_be_is_one_error(
    arguments: list[str],
    expected: str,
    tiny_bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty").mkdir()
    arguments = [a.format(empty=tmp_path / "empty") for a in arguments]
    out = tmp_path / "out"
    assert main(["quantize", str(tiny_bundle), "--out", str(out), *arguments]) == 3
    assert expected in capsys.readouterr().err
    assert not out.exists() and not out.with_name("out.partial").exists()


def test_what_was_quantized_is_not_quantized_again(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["quantize", str(small), "--out", str(tmp_path / "out"), "--flow", "w4"]
    assert main(command) == 3
    assert "expected a stage in f32, f16, bf16, got int8" in capsys.readouterr().err
