"""The GGUF backbone: the same numbers as the modules, the tokenizer's ids, no value changed."""

import json
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from llama_backbone import LlamaBackbone
from safetensors.torch import load_file, save_file
from small_checkpoint import SMALL

from parley import libraries
from parley_export import backbone_gguf, quantize
from parley_export.errors import BundleError, LibraryError
from parley_export.families.covo_audio import checkpoint, modules
from parley_export.families.covo_audio.prompts import REQUIRED
from parley_export.qwen import BackboneConfig, gguf_names
from parley_export.tokenizer import read_tokenizer
from parley_export.weights import Shards
from tiny_checkpoint import write_checkpoint
from tolerances import LOGITS_ABS


def write(folder, path, precision="f32"):
    """Write a GGUF file from a checkpoint folder; returns the fractions told to `progress`."""
    configs = checkpoint.read_configs(checkpoint.locate(folder))
    told = []
    backbone_gguf.write_gguf(
        path,
        configs.token_model(read_tokenizer(folder, REQUIRED)),
        Shards(folder).read,
        precision=precision,
        name="small",
        progress=told.append,
    )
    return told


def change_weights(folder, change):
    for shard in folder.glob("*.safetensors"):
        tensors = load_file(shard)
        change(tensors)
        save_file(tensors, shard)


@pytest.fixture(scope="module")
def f32_file(intact_checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "f32.gguf"
    write(intact_checkpoint, path)
    return path


def torch_backbone(folder):
    configs = checkpoint.read_configs(checkpoint.locate(folder))
    shards = Shards(folder)
    backbone = modules.Backbone(configs.backbone)
    state = {n.removeprefix("llm."): shards.read(n) for n in shards.tensors if n[:4] == "llm."}
    backbone.load_state_dict(state)
    return backbone.float().eval()


def test_logits_equal_the_modules(intact_checkpoint, f32_file):
    """A prompt of embeddings, then single ones on the same cache."""
    rng = np.random.default_rng(3)
    embeddings = rng.standard_normal((40, SMALL.width)).astype(np.float32)
    with torch.no_grad():
        expected = torch_backbone(intact_checkpoint)(torch.from_numpy(embeddings)[None])[0][0]
    engine = LlamaBackbone(f32_file)
    got = {29: engine.feed(embeddings[:30])}
    got |= {i: engine.feed(embeddings[i : i + 1]) for i in range(30, 40)}
    for position, logits in got.items():
        assert np.abs(logits - expected[position].numpy()).max() < LOGITS_ABS


def test_every_value_is_kept_in_f32(intact_checkpoint, f32_file):
    shards = Shards(intact_checkpoint)
    configs = checkpoint.read_configs(checkpoint.locate(intact_checkpoint))
    stored = {t.name: t for t in gguf.GGUFReader(f32_file).tensors}
    names = gguf_names(configs.backbone, "llm.")
    assert {target for target, _ in names.values()} == stored.keys()
    for source, (target, shape) in names.items():
        tensor = stored[target]
        assert tensor.tensor_type.name == "F32"
        assert np.array_equal(np.array(tensor.data).reshape(shape), shards.read(source).numpy())


def test_bfloat16_is_kept_for_quantizing(tmp_path):
    folder = write_checkpoint(tmp_path / "bf16", replace(SMALL, dtype="bfloat16"))
    told = write(folder, tmp_path / "source.gguf", "source")
    found = backbone_gguf.stored_tensors(tmp_path / "source.gguf")
    types = {name: kind for name, (kind, _) in found.items()}
    assert types["blk.0.attn_q.weight"] == types["token_embd.weight"] == "BF16"
    assert types["blk.0.attn_q.bias"] == types["output_norm.weight"] == "F32"
    assert found["output.weight"][1] == 2 * (SMALL.audio_begin + SMALL.codes) * SMALL.width
    stored = {t.name: t for t in gguf.GGUFReader(tmp_path / "source.gguf").tensors}
    bits = Shards(folder).read("llm.lm_head.weight").view(torch.uint16).numpy()
    assert np.array_equal(np.array(stored["output.weight"].data).view(np.uint16), bits)
    assert told[-1] == 1.0 and told == sorted(told)


def test_large_tensors_are_written_in_pieces(intact_checkpoint, f32_file, tmp_path, monkeypatch):
    monkeypatch.setattr(backbone_gguf, "CHUNK_BYTES", 1000)
    write(intact_checkpoint, tmp_path / "pieces.gguf")
    assert (tmp_path / "pieces.gguf").read_bytes() == f32_file.read_bytes()


def test_f16_refuses_what_it_cannot_hold(checkpoint, tmp_path):
    change_weights(checkpoint, lambda t: [v.fill_(7e4) for n, v in t.items() if "up_proj" in n])
    with pytest.raises(BundleError, match=r"up_proj.*--backbone"):
        write(checkpoint, tmp_path / "f16.gguf", "f16")


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_refuses_values_that_are_not_finite(checkpoint, tmp_path, value):
    change_weights(
        checkpoint, lambda t: [v.fill_(value) for n, v in t.items() if "1.mlp.down" in n]
    )
    with pytest.raises(BundleError, match=r"layers\.1\.mlp\.down_proj"):
        write(checkpoint, tmp_path / "x.gguf")


# ------------------------------------------------------------ tokenizer


@pytest.fixture
def engine(f32_file):
    return LlamaBackbone(f32_file)


def test_ids_are_the_tokenizers(intact_checkpoint, engine):
    tokenizer = read_tokenizer(intact_checkpoint, REQUIRED)
    assert engine.vocab_size == SMALL.audio_begin + SMALL.codes
    for name, token in tokenizer.special.items():
        assert engine.tokenize(name, special=True) == [token]


def test_text_never_becomes_a_control_or_audio_id(intact_checkpoint, engine):
    tokenizer = read_tokenizer(intact_checkpoint, REQUIRED)
    text = "".join([*tokenizer.special, backbone_gguf.audio_token(0), "hi"])
    ids = engine.tokenize(text, special=False)
    assert len(ids) == len(text) and max(ids) < min(tokenizer.special.values())


def test_names_of_codes_must_be_free(checkpoint, tmp_path):
    path = checkpoint / "tokenizer.json"
    data = json.loads(path.read_text())
    vocab = data["model"]["vocab"]
    vocab[backbone_gguf.audio_token(3)] = vocab.pop(next(iter(vocab)))
    path.write_text(json.dumps(data))
    with pytest.raises(BundleError, match="audio_3"):
        write(checkpoint, tmp_path / "x.gguf")


# ------------------------------------------------------------ quantized


@pytest.mark.parametrize("precision", sorted(quantize.FILE_TYPES))
def test_quantized_files_load_and_are_smaller(f32_file, tmp_path, precision):
    path = tmp_path / f"{precision}.gguf"
    told = []
    quantize.quantize(f32_file, path, precision, told.append)
    assert told[-1] == 1.0 and told == sorted(told)
    assert path.stat().st_size < f32_file.stat().st_size
    types = {name: kind for name, (kind, _) in backbone_gguf.stored_tensors(path).items()}
    assert types["blk.0.attn_q.bias"] == "F32"
    assert types["blk.0.attn_q.weight"] != "F32"
    engine = LlamaBackbone(path)
    assert np.isfinite(engine.feed(np.ones((3, SMALL.width), np.float32))).all()


def test_a_refused_file_names_the_reason(tmp_path):
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + bytes(40))
    with pytest.raises(BundleError, match="quantize"):
        quantize.quantize(tmp_path / "bad.gguf", tmp_path / "out.gguf", "q8_0")


def test_a_full_disk_while_quantizing(f32_file):
    with pytest.raises(OSError, match="free space"):
        quantize.quantize(f32_file, Path("/dev/full"), "q8_0")


def test_no_llama(f32_file, tmp_path, monkeypatch):
    monkeypatch.setattr(libraries, "_package_folder", lambda package: None)
    with pytest.raises(LibraryError, match="parley-llama"):
        quantize.quantize(f32_file, tmp_path / "out.gguf", "q8_0")


def test_a_full_disk_while_writing(intact_checkpoint):
    with pytest.raises(OSError, match="No space left"):
        write(intact_checkpoint, Path("/dev/full"))


@pytest.mark.parametrize("heads", [4, 6])
def test_normed_heads_of_a_width_of_their_own(tmp_path, heads):
    """Qwen3's shape; six heads share no width of 64 evenly."""
    torch.manual_seed(heads)
    config = BackboneConfig(
        width=64,
        ffn_width=96,
        layers=2,
        heads=heads,
        kv_heads=2,
        vocab_size=320,
        head_width=24,
        rope_theta=5e6,
        architecture="qwen3",
    )
    module = modules.Backbone(config).eval().requires_grad_(False)
    for name, parameter in module.named_parameters():
        if name.endswith("_norm.weight"):
            parameter.uniform_(0.5, 1.5)
    model = backbone_gguf.TokenModel(gguf_names(config, ""), config, None, 512)
    backbone_gguf.write_gguf(
        tmp_path / "f32.gguf", model, module.state_dict().__getitem__, precision="f32", name="small"
    )
    rows = torch.randn(7, config.width)
    logits = LlamaBackbone(tmp_path / "f32.gguf").feed(rows.numpy())
    expected = module(rows[None])[0][0, -1]
    assert np.abs(logits - expected.numpy()).max() < LOGITS_ABS
