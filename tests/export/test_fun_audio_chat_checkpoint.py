"""Fun-Audio-Chat checkpoints that are not as published: each is told what is wrong with it."""

import json
import shutil

import numpy as np
import pytest
import torch
from fun_audio_chat_models import SPEC
from llama_backbone import LlamaBackbone
from tiny_models import largest_error

import fun_audio_chat_checkpoint as checkpoints
import tolerances
from fun_audio_chat_layout import OTHER, vocoder_shapes
from parley_apps.main import main
from parley_export import command, loading
from parley_export.families.fun_audio_chat.checkpoint import HEAD_TABLE
from parley_export.families.fun_audio_chat.family import FAMILY
from parley_export.family import USUAL
from tiny_checkpoint import write_state_dict

# What graphs give out; between, graphs and modules may hold values in another order.
ENDS = {"encoded", "features", "slots", "row", "token_features", "modulation", "velocity", "wave"}
FLOAT = ["--backbone", "f32", "--head", "f32"]


@pytest.fixture
def copy(fun_audio_chat, tmp_path):
    """All three folders, to be damaged; the model's."""
    for name in (checkpoints.MODEL, checkpoints.DECODER, checkpoints.UTILS):
        shutil.copytree(fun_audio_chat.parent / name, tmp_path / name)
    return tmp_path / checkpoints.MODEL


def refused(copy, capsys):
    """What the exporter says of it."""
    out = copy.parent / "out"
    assert command.main([str(copy), "--out", str(out), *FLOAT]) == 4
    assert not out.exists()
    return capsys.readouterr().err


def changed(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def test_what_is_published_apart_is_asked_for(copy, capsys):
    shutil.rmtree(copy.parent / checkpoints.DECODER)
    shutil.rmtree(copy.parent / checkpoints.UTILS)
    told = refused(copy, capsys)
    assert "--token2wav DIR says where it is" in told and "--voice says where it is" in told


def test_another_place_for_decoder_and_voice(copy, tmp_path):
    (copy.parent / checkpoints.DECODER).rename(tmp_path / "decoder")
    own = tmp_path / "mine"
    own.mkdir()
    np.save(own / "speaker_embed.npy", np.ones((1, 192), np.float32))
    out = tmp_path / "out"
    places = ["--token2wav", str(tmp_path / "decoder"), "--voice", str(own)]
    assert command.main([str(copy), "--out", str(out), *places, *FLOAT]) == 0
    assert list(json.loads((out / "manifest.json").read_text())["voices"]) == ["default"]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"rope_theta": 5000000', '"rope_theta": "high"', "text_config.rope_theta to be a number"),
        (
            '"codebook_size": 247',
            '"codebook_size": 300',
            "audio_tower.embed_tokens.weight [300, 64]",
        ),
        ('"audio_token_index": 306', '"audio_token_index": 305', "<|AUDIO|> at id 305"),
        ('"n_window": 100', '"n_window": 96', "audio_config.2 * group_size"),
        ('"bos_token_id": 243', '"bos_token_id": 240', "codes of the head as the flow decoder"),
        ('"attention_bias": false', '"attention_bias": true', "attention_bias to be False"),
    ],
)
def test_another_config(copy, capsys, old, new, told):
    changed(copy / "config.json", old, new)
    assert told in refused(copy, capsys)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("pre_lookahead_len: 3", "pre_lookahead_len: 4", "flow.pre_lookahead_len to be 3"),
        ("depth: 3", "depth: 4", "flow/decoder.estimator.transformer_blocks.3"),
        ("dim_head: 16", "dim_head: 32", "flow/decoder.estimator.rotary_embed.inv_freq"),
        ("conv_pre_look_right: 4", "conv_pre_look_right: 6", "vocoder/conv_pre"),
        ('solver: "euler"', 'solver: "heun"', "solver to be 'euler'"),
        ("flow: ", "stream: ", "no section flow"),
    ],
)
def test_another_decoder(copy, capsys, old, new, told):
    changed(copy.parent / checkpoints.DECODER / "cosyvoice3.yaml", old, new)
    assert told in refused(copy, capsys)


def test_a_missing_shard(copy, capsys):
    (copy / "model-00001-of-00001.safetensors").unlink()
    assert "expected the shard model-00001-of-00001.safetensors" in refused(copy, capsys)


@pytest.mark.parametrize(
    ("voices", "told"),
    [
        ({"a": {"embedding": torch.ones(1, 64)}}, "expected [1, 192] of a, got [1, 64]"),
        ({"a": {}}, "expected a tensor embedding of a"),
        ({"../a": {"embedding": torch.ones(1, 192)}}, "expected plain names of voices"),
        ({"a": {"embedding": torch.full((1, 192), torch.nan)}}, "expected finite values of a"),
        ([], "expected voices in new_spk2info.pt, got list"),
    ],
)
def test_damaged_voices(copy, capsys, voices, told):
    torch.save(voices, copy.parent / checkpoints.UTILS / "new_spk2info.pt")
    assert told in refused(copy, capsys)


class Hostile:
    """Would run something when unpickled by pickle itself."""

    def __reduce__(self):
        return (print, ("run",))


def test_a_pickle_is_not_executed(copy, capsys):
    torch.save({"a": {"embedding": Hostile()}}, copy.parent / checkpoints.UTILS / "new_spk2info.pt")
    told = refused(copy, capsys)
    assert "a pickle that calls" in told and "print" in told


def test_the_other_names_of_the_vocoder(fun_audio_chat, copy, tmp_path):
    """Another prefix, and torch's older words for weight norm: the same graph comes out."""
    values = checkpoints.tensors(vocoder_shapes(SPEC))
    older = {
        "generator."
        + name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): value
        for name, value in values.items()
    }
    write_state_dict(copy.parent / checkpoints.DECODER / "hift.pt", older, wrapped=False)
    for checkpoint, name in ((fun_audio_chat, "usual"), (copy, "other")):
        out = tmp_path / name
        assert command.main([str(checkpoint), "--out", str(out), *FLOAT]) == 0
    for name in ("vocoder_with_noise.onnx", "vocoder_with_noise.onnx.data"):
        assert (tmp_path / "other" / name).read_bytes() == (tmp_path / "usual" / name).read_bytes()


def test_other_sizes(tmp_path, capsys):
    """Nothing leans on the tiny checkpoint's: every graph is as its module, the head as its own."""
    folder, out = checkpoints.write_checkpoint(tmp_path, OTHER), tmp_path / "out"
    assert command.main([str(folder), "--out", str(out), *FLOAT]) == 0
    capsys.readouterr()
    for stage in ("encoder", "head", "flow", "vocoder"):
        arguments = ["--inside", stage, "--checkpoint", str(folder), "--json"]
        main(["verify", str(out), *arguments])
        told = json.loads(capsys.readouterr().out)
        rows = [row for rows in told["graphs"].values() for row in rows]
        ends = [row for row in rows if row["value"] in ENDS]
        assert ends and all(row["pass"] for row in ends), stage
    read = FAMILY.read(FAMILY.locate(folder, USUAL, ""))
    module = loading.load_module(read.configs.speech_head, read.read).float()
    slots, codes = torch.randn(7, OTHER.backbone.width), torch.arange(7)
    table = read.read("audio_tower.embed_tokens.weight").float()
    logits, _ = module(slots, codes, table, None)
    rows = module.input_matching(slots) + read.read(HEAD_TABLE)[codes]
    got = LlamaBackbone(out / "head.gguf").feed(rows.numpy())
    assert largest_error(got, logits[-1]) < tolerances.LOGITS_ABS
