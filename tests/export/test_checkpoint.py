"""What a checkpoint must hold: every fault is found, named, and found together with the others."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_checkpoint import SMALL, save_shards

from parley_export.errors import BundleError, InputError
from parley_export.families.covo_audio import checkpoint as reading
from parley_export.families.covo_audio.modules.activation import lowpass_filter
from parley_export.family import Places
from parley_export.loading import load_module


def read(folder: Path, **where: Path) -> reading.Checkpoint:
    return reading.read_checkpoint(reading.locate(folder, Places(**where)))


def change_config(path: Path, section: str | None, **values: object) -> None:
    config = json.loads(path.read_text())
    (config[section] if section else config).update(values)
    path.write_text(json.dumps(config))


def change_shard(folder: Path, change) -> None:
    """Rewrite the first shard and the index after `change(tensors)`."""
    shard = sorted(folder.glob("*.safetensors"))[0]
    tensors = load_file(shard)
    change(tensors)
    save_file(tensors, shard)
    index = folder / "model.safetensors.index.json"
    data = json.loads(index.read_text())
    kept = {n: f for n, f in data["weight_map"].items() if f != shard.name}
    data["weight_map"] = kept | dict.fromkeys(tensors, shard.name)
    index.write_text(json.dumps(data))


def change_decoder(folder: Path, change) -> None:
    path = folder / "token2wav" / "model.pt"
    tensors = torch.load(path, weights_only=True)["model"]
    change(tensors)
    torch.save({"model": tensors}, path)


def test_reads_an_intact_checkpoint(intact_checkpoint):
    found = read(intact_checkpoint)
    assert found.configs.audio_codes == found.configs.flow.codes
    voice = found.voices["default"]
    assert voice.tokens.ndim == 1 and voice.tokens.dtype == np.int32
    assert voice.latents.shape[1] == found.configs.flow.z
    norm = found.read("llm.model.norm.weight")
    assert norm.shape == (found.configs.backbone.width,)
    for described in (*found.configs.hearing, *found.configs.speech):
        module = load_module(described, found.read)
        assert all(p.device.type == "cpu" for p in module.parameters())


def test_a_single_file_without_index_is_the_same(intact_checkpoint, checkpoint):
    tensors = {}
    for shard in checkpoint.glob("*.safetensors"):
        tensors |= load_file(shard)
        shard.unlink()
    (checkpoint / "model.safetensors.index.json").unlink()
    save_file(tensors, checkpoint / "model.safetensors")
    name = "llm.lm_head.weight"
    assert torch.equal(read(checkpoint).read(name), read(intact_checkpoint).read(name))


def test_parts_may_lie_elsewhere(checkpoint, tmp_path):
    t2w = checkpoint / "token2wav"
    voice = (t2w / "prompt").rename(tmp_path / "voice")
    config = (t2w / "config.json").rename(tmp_path / "decoder.json")
    t2w = t2w.rename(tmp_path / "t2w")
    with pytest.raises(BundleError) as e:
        read(checkpoint)
    for option in ("--voice", "--decoder-config", "--token2wav"):
        assert option in str(e.value)
    read(checkpoint, voice=voice, decoder_config=config, token2wav=t2w)


def test_no_checkpoint(tmp_path):
    with pytest.raises(InputError, match="expected a checkpoint folder"):
        reading.locate(tmp_path / "nothing")
    with pytest.raises(BundleError, match=r"config\.json"):
        reading.locate(tmp_path)


def test_a_bundle_is_no_checkpoint(tmp_path):
    """Regression: the message listed four missing files of token2wav/."""
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(BundleError, match="which is a bundle; give the checkpoint") as caught:
        reading.locate(tmp_path)
    assert "python -m train assemble" in str(caught.value) and "token2wav" not in str(caught.value)
    with pytest.raises(InputError, match="python -m train assemble"):
        reading.locate(Path("nano"))


def test_names_all_missing_extra_and_misshapen_tensors(checkpoint):
    def damage(tensors):
        names = [n for n in tensors if n.startswith("llm.")]
        del tensors[names[0]]
        tensors[names[1]] = torch.zeros(1, 2)
        tensors["llm.surprise"] = torch.zeros(3)
        damage.names = [names[0], names[1], "llm.surprise"]

    def damage_decoder(tensors):
        del tensors["wavegan.conv_pre.bias"]
        tensors["discriminator.weight"] = torch.zeros(2)

    change_shard(checkpoint, damage)
    change_decoder(checkpoint, damage_decoder)
    with pytest.raises(BundleError) as e:
        read(checkpoint)
    for name in [*damage.names, "wavegan.conv_pre.bias", "discriminator.weight"]:
        assert name in str(e.value)
    assert "5 problems" in str(e.value)


def test_refuses_integer_weights(checkpoint):
    change_shard(checkpoint, lambda t: t.update({next(iter(t)): torch.zeros(2, dtype=torch.int8)}))
    with pytest.raises(BundleError, match="I8"):
        read(checkpoint)


@pytest.mark.parametrize("kind", [torch.float64, torch.float8_e4m3fn, torch.float8_e5m2])
def test_names_a_type_of_weights_once_and_what_to_do(checkpoint, kind):
    """Regression: one line for every other tensor of the file, and "the file is damaged"."""
    change_shard(checkpoint, lambda t: t.update({n: t[n].to(kind) for n in list(t)[:3]}))
    with pytest.raises(BundleError) as e:
        read(checkpoint)
    message = str(e.value)
    assert "\n" not in message and message.count("; ") == 1
    assert "(3 tensors)" in message and "convert them to bfloat16" in message
    assert "damaged" not in message and "fetch" not in message


def test_a_damaged_shard_is_one_line(checkpoint):
    """Regression: a line for each tensor that the index promises in it."""
    shard = sorted(checkpoint.glob("*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(BundleError) as e:
        read(checkpoint)
    assert "\n" not in str(e.value) and "fetch it again" in str(e.value)


def test_each_of_several_problems_says_what_to_do(checkpoint):
    change_shard(checkpoint, lambda t: t.update({n: t[n].double() for n in list(t)[:1]}))
    np.save(checkpoint / "token2wav" / "global_mean_var.npy", np.zeros(3))
    with pytest.raises(BundleError) as e:
        read(checkpoint)
    first, *lines = str(e.value).splitlines()
    assert "2 problems" in first and "fetch" not in first
    assert "convert them" in lines[0] and "fetch it again" in lines[1]


def test_refuses_a_missing_output_head(checkpoint):
    tensors = {}
    for shard in checkpoint.glob("*.safetensors"):
        tensors |= load_file(shard)
    del tensors["llm.lm_head.weight"]
    save_shards(checkpoint, tensors)
    with pytest.raises(BundleError, match=r"llm\.lm_head\.weight.*tied"):
        read(checkpoint)


@pytest.mark.parametrize(
    ("section", "values", "named"),
    [
        ("llm_config", {"tie_word_embeddings": True}, "tie_word_embeddings"),
        ("llm_config", {"hidden_act": "relu"}, "hidden_act"),
        ("llm_config", {"rope_scaling": {"rope_type": "yarn", "factor": 4}}, "rope_scaling"),
        ("llm_config", {"model_type": "llama"}, "model_type"),
        ("encoder_config", {"activation_function": "relu"}, "activation_function"),
        (None, {"model_type": "whisper"}, "model_type"),
        (None, {"audio_token_index": 7}, "audio"),
    ],
)
def test_refuses_unknown_kinds(checkpoint, section, values, named):
    change_config(checkpoint / "config.json", section, **values)
    with pytest.raises(BundleError, match=named):
        read(checkpoint)


@pytest.mark.parametrize(
    ("section", "key", "value", "told"),
    [
        ("wavegan", "activation", "leaky", "activation"),
        ("wavegan", "resblock_dilation_sizes", [[1, 3], 5], "lists of positive integers"),
        ("wavegan", "resblock_dilation_sizes", [[1, "3"]], "lists of positive integers"),
        (None, "wavegan", [], "wavegan"),
    ],
)
def test_refuses_a_vocoder_that_is_not_the_published_kind(checkpoint, section, key, value, told):
    path = checkpoint / "token2wav" / "config.json"
    config = json.loads(path.read_text())
    model = config["model"]
    (model[section] if section else model)[key] = value
    path.write_text(json.dumps(config))
    with pytest.raises(BundleError, match=told):
        read(checkpoint)


def test_names_faults_of_several_configs_at_once(checkpoint):
    change_config(checkpoint / "config.json", "llm_config", hidden_act="relu")
    change_config(checkpoint / "config.json", "encoder_config", activation_function="relu")
    with pytest.raises(BundleError) as e:
        read(checkpoint)
    assert "hidden_act" in str(e.value) and "activation_function" in str(e.value)


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "\x00" * 64])
def test_refuses_damaged_json(checkpoint, text):
    (checkpoint / "config.json").write_text(text)
    with pytest.raises(BundleError, match=r"config\.json"):
        read(checkpoint)


# ------------------------------------------------------------ safetensors


@pytest.mark.parametrize("keep", [0, 7, 40, -1])
def test_refuses_a_truncated_shard(checkpoint, keep):
    shard = sorted(checkpoint.glob("*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:keep])
    with pytest.raises(BundleError, match=shard.name):
        read(checkpoint)


def rewrite_header(shard: Path, change) -> None:
    data = shard.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    shard.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


@pytest.mark.parametrize("offsets", [[0, 1 << 60], [-4, 0], [4, 0], "x", None])
def test_refuses_extents_outside_the_file(checkpoint, offsets):
    shard = sorted(checkpoint.glob("*.safetensors"))[0]

    def change(header):
        header[next(n for n in header if n.startswith("llm."))]["data_offsets"] = offsets

    rewrite_header(shard, change)
    with pytest.raises(BundleError, match=shard.name):
        read(checkpoint)


def test_refuses_a_shape_that_overflows(checkpoint):
    shard = sorted(checkpoint.glob("*.safetensors"))[0]
    rewrite_header(shard, lambda h: h[next(iter(h))].update(shape=[1 << 40, 1 << 40]))
    with pytest.raises(BundleError, match=shard.name):
        read(checkpoint)


def test_names_shards_that_the_index_promises(checkpoint):
    for shard in checkpoint.glob("*.safetensors"):
        shard.unlink()
    with pytest.raises(BundleError) as e:
        read(checkpoint)
    assert "model-00001-of-00002" in str(e.value) and "model-00002-of-00002" in str(e.value)


@pytest.mark.parametrize("file", ["../other.safetensors", "/etc/passwd", "model.bin", 5])
def test_refuses_an_index_that_leaves_the_folder(checkpoint, file):
    index = checkpoint / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"llm.lm_head.weight": file}}))
    with pytest.raises(BundleError, match="index"):
        read(checkpoint)


def test_refuses_a_tensor_in_two_shards(checkpoint):
    first, second = sorted(checkpoint.glob("*.safetensors"))
    tensors = load_file(second)
    name = next(iter(load_file(first)))
    save_file(tensors | {name: torch.zeros(2)}, second)
    with pytest.raises(BundleError, match="once"):
        read(checkpoint)


# ------------------------------------------------------------ decoder, voice, statistics


def test_accepts_both_forms_of_the_decoder_file(checkpoint):
    path = checkpoint / "token2wav" / "model.pt"
    tensors = torch.load(path, weights_only=True)["model"]
    torch.save({f"module.{name}": value for name, value in tensors.items()}, path)
    found = read(checkpoint)
    assert torch.equal(found.read("wavegan.conv_pre.bias"), tensors["wavegan.conv_pre.bias"])


def test_constants_may_be_there_but_must_be_right(checkpoint):
    name = "wavegan.activation_post.upsample.filter"
    right = lowpass_filter()[None, None].to(torch.bfloat16)
    change_decoder(checkpoint, lambda t: t.update({name: right}))
    read(checkpoint)
    change_decoder(checkpoint, lambda t: t.update({name: right.flip(-1).cumsum(-1)}))
    with pytest.raises(BundleError, match="constant"):
        read(checkpoint)


def test_refuses_weights_that_are_not_finite(checkpoint):
    name = "token2latent.cond_proj.bias"
    change_decoder(checkpoint, lambda t: t[name].fill_(float("nan")))
    found = read(checkpoint)
    with pytest.raises(BundleError, match=name):
        load_module(found.configs.speech[0], found.read)


def test_refuses_weights_that_float16_cannot_hold(checkpoint):
    name = "token2latent.cond_proj.bias"
    change_decoder(checkpoint, lambda t: t[name].fill_(1e5))
    found = read(checkpoint)
    load_module(found.configs.speech[0], found.read)
    with pytest.raises(BundleError, match=name):
        load_module(found.configs.speech[0], found.read, limit=65504.0)


@pytest.mark.parametrize(
    ("file", "array"),
    [
        ("prompt_token.npy", np.array([[0, 1 << 20]])),
        ("prompt_token.npy", np.array([[-2, 1]])),
        ("prompt_token.npy", np.zeros((1, 0), np.int64)),
        ("prompt_token.npy", np.zeros((1, 3), np.float32)),
        ("prompt_latent.npy", np.zeros((1, 3, 2), np.float32)),
        ("prompt_latent.npy", np.zeros((2, 3, SMALL.z), np.float32)),
        ("speaker_embed.npy", np.full((1, SMALL.speaker_width), np.nan, np.float32)),
        ("speaker_embed.npy", np.zeros(SMALL.speaker_width, np.float32)),
    ],
)
def test_refuses_a_bad_voice(checkpoint, file, array):
    np.save(checkpoint / "token2wav" / "prompt" / file, array)
    with pytest.raises(BundleError, match=file):
        read(checkpoint)


def test_never_unpickles_an_array(checkpoint, tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    for path in ("token2wav/prompt/prompt_token.npy", "token2wav/global_mean_var.npy"):
        np.save(checkpoint / path, np.array([Trap()], dtype=object), allow_pickle=True)
    with pytest.raises(BundleError) as e:
        read(checkpoint)
    assert "prompt_token" in str(e.value) and "global_mean_var" in str(e.value)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "stats", [np.zeros((1, 3)), np.full((1, 2 * SMALL.z), np.inf), -np.ones((1, 2 * SMALL.z))]
)
def test_refuses_bad_statistics(checkpoint, stats):
    np.save(checkpoint / "token2wav" / "global_mean_var.npy", stats)
    with pytest.raises(BundleError, match="global_mean_var"):
        read(checkpoint)
