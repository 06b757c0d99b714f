"""The work that a bundle tells of its graphs, against the weights in their files."""

import json
import math
import re

import onnx
import pytest

import step_audio_2_checkpoint
import tiny_checkpoint
from parley_export import command, families

# Whoever writes a family's tiny checkpoint, and the choices that give it all of its graphs.
WRITERS = {
    "covo_audio": (tiny_checkpoint.write_checkpoint, ["--duplex"]),
    "step_audio_2": (step_audio_2_checkpoint.write_checkpoint, []),
}
# Matrices that are not worth counting: tables of which a row is read, what is added to attention's
# rows, what is done once for a voice or a time, the short-time spectra.
SMALL = re.compile(
    r"(embed_)?positions|input_embedding|.*/[uv]|spk_embed_affine_layer\..*|cond_proj\..*"
    r"|time\..*|.*(analysis|synthesis|envelope)\.weight"
)


@pytest.fixture(scope="module", params=[name for name in families.FAMILIES if name in WRITERS])
def bundle(request, tmp_path_factory):
    write, choices = WRITERS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    checkpoint = write(folder / "checkpoint")
    out = folder / "bundle"
    assert command.main([str(checkpoint), "--out", str(out), "--backbone", "f32", *choices]) == 0
    return out, json.loads((out / "manifest.json").read_text())


def matrices(path):
    """Sizes of the weights of more than one dimension that a graph multiplies by."""
    graph = onnx.load(path, load_external_data=False).graph
    shapes = {w.name: tuple(w.dims) for w in graph.initializer}
    return {n: math.prod(s) for n, s in shapes.items() if math.prod(s[1:]) > 1}


def test_a_graph_reads_what_it_says(bundle):
    folder, manifest = bundle
    told = {name: entry for name, entry in manifest["graphs"].items() if "work" in entry}
    assert {"flow_field", "flow_modulation"} <= set(told)
    for name, entry in told.items():
        sizes = matrices(folder / entry["file"])
        counted = sum(n for weight, n in sizes.items() if not SMALL.fullmatch(weight))
        assert counted == entry["work"]["weights"], name
        assert entry["work"]["macs"] > 0


def test_a_pass_of_the_backbone_reads_its_layers_and_its_logits(bundle):
    import gguf

    folder, manifest = bundle
    backbone = manifest["backbone"]
    stored = gguf.GGUFReader(folder / backbone["file"]).tensors
    layers = [t for t in stored if t.name.startswith("blk.")]
    in_matrices = sum(math.prod(t.shape.tolist()) for t in layers if len(t.shape) > 1)
    assert backbone["work"]["weights"] == in_matrices
    assert backbone["work"]["bytes"] == sum(int(t.n_bytes) for t in layers)
    assert backbone["logits"]["weights"] == backbone["vocab_size"] * backbone["width"]
    assert backbone["logits"]["bytes"] == 4 * backbone["logits"]["weights"]
    keys = next(t for t in stored if t.name == "blk.0.attn_k.weight")
    n_layers = len({t.name.split(".")[1] for t in layers})
    assert backbone["work"]["cached"] == 2 * n_layers * int(keys.shape[1])
