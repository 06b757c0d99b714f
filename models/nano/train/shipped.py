"""What listens and thinks, read back from the bundle that ships; knows no training.

The bundle is the committed checkpoint: float16 for encoder and adapter, 8 bits for the backbone.
A further training starts from it, and a new export needs no run folder.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from parley_export.families.covo_audio.modules import AdapterConfig, Backbone, EncoderConfig
from parley_export.qwen import gguf_names
from train.listen_model import ListenModel

HEAD_WIDTH = 64  # Whisper's, in every size
BUNDLE = Path(__file__).resolve().parent.parent / "bundle"
Weights = dict[str, Tensor]


def shipped_ears(bundle: Path = BUNDLE) -> tuple[EncoderConfig, AdapterConfig]:
    """The sizes of a bundle's encoder and adapter.

    Raises:
        FileNotFoundError: there is no such bundle.
    """
    weights = read_graph(part(bundle, "encoder_chunk.onnx"))
    width, n_mels, _ = weights["conv1.weight"].shape
    encoder = EncoderConfig(
        width=width,
        layers=sum(name.endswith("/fc1.bias") for name in weights),
        heads=width // HEAD_WIDTH,
        ffn_width=len(weights["layers.0/fc1.bias"]),
        n_mels=n_mels,
        positions=len(weights["embed_positions"]),
    )
    adapter = AdapterConfig(
        width=width,
        out_width=len(weights["adapter.2/linear2.bias"]),
        hidden=len(weights["adapter.0/linear1.bias"]),
    )
    return encoder, adapter


def part(bundle: Path, name: str) -> Path:
    """A file of the bundle. Raises FileNotFoundError."""
    if not (bundle / name).is_file():
        raise FileNotFoundError(
            f"[shipped.load] expected {bundle / name}, got none; train listen first"
        )
    return bundle / name


def load_shipped_backbone(backbone: Backbone, bundle: Path = BUNDLE) -> None:
    """Set the backbone alone. Raises FileNotFoundError."""
    backbone.load_state_dict(read_backbone(part(bundle, "backbone.gguf"), backbone))


def load_shipped(model: ListenModel, bundle: Path = BUNDLE) -> None:
    """Set encoder, adapter and backbone; the heads that aid training keep their values.

    The model has the sizes of `shipped_ears`.

    Raises:
        FileNotFoundError: there is no such bundle.
    """
    hearing = read_graph(part(bundle, "encoder_chunk.onnx"))
    for module, prefix in ((model.adapter, "adapter."), (model.encoder, "")):
        state = {
            name: find(hearing, graph_name(prefix, name), tensor)
            for name, tensor in module.state_dict().items()
        }
        module.load_state_dict(state)
    load_shipped_backbone(model.backbone, bundle)


def read_graph(path: Path) -> Weights:
    """Initializers of an ONNX file in float32, by their names there."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(path).graph
    return {
        tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()).float()
        for tensor in graph.initializer
        if tensor.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    }


def graph_name(prefix: str, name: str) -> str:
    """A module's parameter as the exporter names it: `layers.0/q_proj.weight`."""
    pieces = name.removeprefix("downsample_layers.").split(".")
    if name == "embed_positions.weight":
        return "embed_positions"
    if prefix:
        return f"{prefix}{pieces[0]}/{'.'.join(pieces[1:])}"
    if pieces[0] != "layers":
        return name
    inner = [piece for piece in pieces[2:] if piece != "self_attn"]
    return f"layers.{pieces[1]}/{'.'.join(inner)}"


def find(weights: Weights, name: str, like: Tensor) -> Tensor:
    """A graph's tensor; the matrices of linear layers lie transposed there."""
    tensor = weights[name]
    if tensor.dim() == 2 and name != "embed_positions":
        tensor = tensor.T
    assert tensor.shape == like.shape, name
    return tensor.contiguous()


def read_backbone(path: Path, backbone: Backbone) -> Weights:
    """Backbone.state_dict() out of a GGUF file of any type."""
    import gguf
    from gguf.quants import dequantize

    stored = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    found = {}
    for name, (theirs, shape) in gguf_names(backbone.config, prefix="").items():
        tensor = stored[theirs]
        values = dequantize(tensor.data, tensor.tensor_type).copy()
        found[name] = torch.from_numpy(values).float().reshape(shape)
    return found
