"""A whole Step-Audio 2 bundle: manifest, prompts, and its files against the published numbers."""

import json
import shutil

import numpy as np
import pytest
import torch
from llama_backbone import LlamaBackbone
from step_audio_2_graphs import VocoderStream, opened
from step_audio_2_models import models
from tiny_models import golden, largest_error, relative_error, snr_db
from tokenizers import Tokenizer

import step_audio_2_checkpoint
import step_audio_2_layout as layout
import tolerances
from parley_apps.main import main
from parley_export import command
from parley_export.families.step_audio_2 import prompts
from parley_export.weights import Shards

SPEC = layout.TINY
IDS = {name: SPEC.base_vocab + i for i, name in enumerate(SPEC.specials)}
PERSONA = "You are a helpful assistant."


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return step_audio_2_checkpoint.write_checkpoint(tmp_path_factory.mktemp("step") / "tiny")


@pytest.fixture(scope="module")
def bundle(checkpoint):
    out = checkpoint.parent / "tiny.bundle"
    assert command.main([str(checkpoint), "--out", str(out), "--backbone", "f32"]) == 0
    return out


@pytest.fixture(scope="module")
def manifest(bundle):
    return json.loads((bundle / "manifest.json").read_text())


# ------------------------------------------------------------ manifest and prompts


def test_manifest(manifest):
    assert manifest["family"] == "step_audio_2"
    assert manifest["vocabulary"] == {
        "text_end": 519,
        "audio_begin": 527,
        "audio_codes": 243,
        "audio_placeholder": IDS["<audio_patch>"],
        "control": {name: IDS[name] for name in layout.SPECIALS},
    }
    assert manifest["backbone"]["vocab_size"] == SPEC.vocab
    turns = manifest["turns"]
    assert turns["end"] == [IDS[name] for name in ("<|EOT|>", "<|endoftext|>", "<|im_end|>")]
    assert turns["speech"]["begin"] == IDS["<tts_start>"]
    assert turns["speech"]["text_pad"] == IDS["<tts_pad>"]
    flow, vocoder = manifest["flow"], manifest["vocoder"]
    assert (flow["codes_hz"], flow["codes_per_run"], flow["lookahead_codes"]) == (25, 25, 3)
    assert (vocoder["samples_per_latent"], vocoder["lookahead_frames"]) == (480, 8)
    assert manifest["source"]["notice"] == prompts.NOTICE


def filled(tokenizer, template, **given):
    """Ids of a template; each given value is ids or a text that holds no control tokens."""
    ids = []
    while template:
        text, _, rest = template.partition("{")
        ids += tokenizer.encode(text).ids
        name, _, template = rest.partition("}")
        if name:
            value = given[name]
            ids += tokenizer.encode(value).ids if isinstance(value, str) else list(value)
    return ids


def test_prompts(checkpoint, manifest):
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    numbers, turns = golden("step_audio_2"), manifest["turns"]
    assert manifest["prompts"]["system"] == PERSONA
    heard = [[IDS["<audio_patch>"]] * len(numbers[f"turn{i}_features"]) for i in (1, 2)]
    first = filled(tokenizer, turns["first"], system=PERSONA, tools="", user=heard[0])
    assert first == numbers["turn1_input_ids"].tolist()
    said = [*numbers["turn1_ta4_tokens"].tolist(), turns["speech"]["end"], turns["close"]]
    second = first + said + filled(tokenizer, turns["next"], user=heard[1])
    assert second == numbers["turn2_input_ids"].tolist()
    assert numbers["turn2_new_ids_from"] == len(first) + len(said) - 1
    typed = filled(tokenizer, turns["first_text"], system=PERSONA, tools="", user="Hi 你好")
    assert typed == [*numbers["text_input_ids"].tolist(), IDS["<tts_start>"]]


def test_tools(checkpoint, manifest):
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    told = manifest["prompts"]

    def ids(template, **given):
        return filled(tokenizer, template, **given)

    said = [*ids("A"), *(IDS[f"<audio_{code}>"] for code in (1, 2, 3, 4)), IDS["<tts_end>"]]
    conversation = [
        *ids(prompts.turn("system", "S")),
        *ids(told["schemas"], schemas="[]"),
        *ids(prompts.turn("human", "Q")),
        *ids(prompts.reply(speech=True)),
        *said,
        *ids(told["call"], name="search", arguments="{}"),
        IDS["<|EOT|>"],
        *ids(told["input"], content="RT"),
    ]
    assert conversation == golden("step_audio_2")["tools_input_ids"].tolist()


# ------------------------------------------------------------ numbers


@pytest.mark.parametrize("turn", [1, 2])
def test_backbone(checkpoint, bundle, turn):
    numbers = golden("step_audio_2")
    table = Shards(checkpoint).read("model.embed_tokens.weight").numpy()
    ids = numbers[f"turn{turn}_input_ids"]
    x = table[ids].copy()
    heard = [numbers[f"turn{i}_features"] for i in range(1, turn + 1)]
    x[ids == IDS["<audio_patch>"]] = np.concatenate(heard)
    engine = LlamaBackbone(bundle / "backbone.gguf")
    logits, expected, tokens = engine.feed(x), numbers[f"turn{turn}_greedy_tokens"].tolist(), []
    prefill = numbers[f"turn{turn}_prefill_logits"]
    assert largest_error(logits, prefill) < tolerances.LOGITS_ABS
    for _ in expected:
        tokens.append(int(logits.argmax()))
        logits = engine.feed(table[tokens[-1:]])
    assert tokens == expected


def test_codes_to_sound(bundle, manifest):
    """The golden codes through the bundle's graphs, whole, and its voice: log-mel, then samples."""
    numbers, flow = golden("step_audio_2"), manifest["flow"]
    voice = {
        name: np.fromfile(bundle / entry["file"], {"tokens": "<i4"}.get(name, "<f4")).reshape(
            entry["shape"]
        )
        for name, entry in manifest["voices"]["default"].items()
    }
    codes = np.concatenate([voice["tokens"], numbers["t2w_codes"], [-1] * 3])[None].astype(np.int64)
    session = opened(bundle / "flow_encoder.onnx")
    shapes = {i.name: (i.shape, i.type) for i in session.get_inputs()}
    state = {
        name: np.zeros(shape, np.int64 if "int64" in kind else np.float32)
        for name, (shape, kind) in shapes.items()
        if name.startswith("state_in.")
    }
    given = session.run(
        ["token_features"], {"codes": codes, "speaker": voice["speaker"][None], **state}
    )[0]
    assert relative_error(given[0, :, :80], numbers["t2w_mu"]) < tolerances.ENCODER_REL
    x = solve(bundle, flow, given[0], voice["latents"])
    assert relative_error(x, numbers["t2w_mel"]) < tolerances.LATENTS_REL
    mel, config = x[60:].T[None].astype(np.float32), models().vocoder.config
    stream = VocoderStream(opened(bundle / "vocoder_with_noise.onnx"), config)
    drawn = np.random.default_rng(3).standard_normal((24000, 9), np.float32)
    own = models().vocoder.m_source.mix_noise(torch.from_numpy(drawn)).numpy()
    late = config.source_lookahead
    noise = np.pad(own, ((0, 0), (0, 0), (late, 40 * config.samples_per_frame)))
    wave = stream.play(mel, noise, 50, config.full_lookahead)
    assert snr_db(wave, numbers["t2w_wave_noise3"]) > tolerances.HARMONIC_WAVE_SNR_DB


def solve(bundle, flow, given, prompt):
    """Euler's steps as the manifest says, with nothing remembered: log-mel `[T, 80]`."""
    points = 1 - np.cos(np.pi / 2 * np.linspace(0, 1, flow["points"]))
    modulation, field = (opened(bundle / f"flow_{name}.onnx") for name in ("modulation", "field"))
    times = points[:-1].astype(np.float32)
    feeds = {"t": times, "speaker": np.zeros((1, SPEC.speaker_width), np.float32)}
    (vectors,) = modulation.run(None, feeds)
    x = np.random.default_rng(2025).standard_normal((1500, 80), np.float32)[: len(given)]
    condition = np.zeros((len(given), 80), np.float32)
    condition[: len(prompt)] = prompt
    fixed = np.concatenate([given, condition], 1)
    n, heads, width = len(given), SPEC.field_heads, SPEC.field_head_width
    for i, step in enumerate(np.diff(points)):
        rows = [np.concatenate([part, x], 1) for part in (fixed, np.zeros_like(fixed))]
        inputs = {
            "inputs": np.stack(rows).astype(np.float32),
            "modulation": vectors[i : i + 1],
            "positions": np.arange(n),
            "prompt_positions": np.arange(n),
            "mask": np.zeros(n, np.float32),
            "carried": np.zeros((2, 2, 2 * SPEC.field_layers * SPEC.field_width), np.float32),
        }
        for layer in range(SPEC.field_layers):
            for kind in ("prompt_keys", "past_keys", "past_values"):
                inputs[f"{kind}.{layer}"] = np.zeros((2, heads, 0, width), np.float32)
            inputs[f"prompt_values.{layer}"] = np.zeros((2, heads, width, 0), np.float32)
        guided, free = field.run(["velocity"], inputs)[0]
        x = x + step * (guided + flow["guidance"] * (guided - free))
    return x


# ------------------------------------------------------------ checkpoints that are not as published


def refused(checkpoint, tmp_path, capsys, damage):
    """What the exporter says of a damaged copy."""
    copy = shutil.copytree(checkpoint, tmp_path / "copy")
    damage(copy)
    assert command.main([str(copy), "--out", str(tmp_path / "out"), "--backbone", "f32"]) == 4
    assert not (tmp_path / "out").exists()
    return capsys.readouterr().err


def test_a_missing_shard(checkpoint, tmp_path, capsys):
    name = "model-00002-of-00002.safetensors"
    told = refused(checkpoint, tmp_path, capsys, lambda folder: (folder / name).unlink())
    assert f"expected the shard {name}" in told


def test_a_wrong_vocabulary(checkpoint, tmp_path, capsys):
    def damage(folder):
        config = json.loads((folder / "config.json").read_text())
        config["text_config"]["vocab_size"] = 700
        (folder / "config.json").write_text(json.dumps(config))

    told = refused(checkpoint, tmp_path, capsys, damage)
    assert "expected at most 700 ids in the tokenizer (vocab_size), got 771" in told
    assert "expected lm_head.weight [700, 64]" in told


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("pre_lookahead_len", "4"), "expected flow.encoder.pre_lookahead_len to be 3"),
        (("depth", "3"), "expected the tensor flow/decoder.estimator.blocks.2"),
        (("spk_embed_dim", "64"), "expected flow/spk_embed_affine_layer.weight [80, 64]"),
        (("vocab_size", "6561"), "expected the added token <audio_6561>"),
        (("num_blocks", "["), "expected a table flow"),
    ],
)
def test_another_decoder(checkpoint, tmp_path, capsys, change, told):
    key, value = change

    def damage(folder):
        file = folder / "token2wav" / "flow.yaml"
        lines = file.read_text().splitlines()
        changed = [
            line.partition(":")[0] + f": {value}" if line.strip().startswith(f"{key}:") else line
            for line in lines
        ]
        assert changed != lines
        file.write_text("\n".join(changed) + "\n")

    assert told in refused(checkpoint, tmp_path, capsys, damage)


def test_a_yaml_file_makes_no_objects(checkpoint, tmp_path, capsys):
    def damage(folder):
        file = folder / "token2wav" / "flow.yaml"
        file.write_text(file.read_text() + "other: !!python/object/apply:os.getcwd []\n")

    told = refused(checkpoint, tmp_path, capsys, damage)
    assert "expected a table flow" in told and "os.getcwd" in told


def test_the_other_names_of_the_vocoder(checkpoint, bundle, tmp_path):
    """No prefix, and torch's older words for weight norm: the same graph comes out."""
    copy = shutil.copytree(checkpoint, tmp_path / "copy")
    values = step_audio_2_checkpoint.tensors(layout.vocoder_shapes(SPEC))
    older = {
        name.removeprefix("generator.")
        .replace("parametrizations.weight.original0", "weight_g")
        .replace("parametrizations.weight.original1", "weight_v"): value
        for name, value in values.items()
    }
    step_audio_2_checkpoint.write_state_dict(copy / "token2wav" / "hift.pt", older, wrapped=False)
    out = tmp_path / "out"
    assert command.main([str(copy), "--out", str(out), "--backbone", "f32"]) == 0
    for name in ("vocoder_with_noise.onnx", "vocoder_with_noise.onnx.data"):
        assert (out / name).read_bytes() == (bundle / name).read_bytes()


def test_duplex_is_refused(checkpoint, tmp_path, capsys):
    arguments = [str(checkpoint), "--out", str(tmp_path / "out"), "--duplex"]
    assert command.main([*arguments, "--backbone", "f32"]) == 3
    assert "whole turns" in capsys.readouterr().err


def test_every_layer_of_the_encoder_is_as_its_module(checkpoint, bundle, capsys):
    capsys.readouterr()
    arguments = ["--inside", "encoder", "--checkpoint", str(checkpoint), "--json"]
    assert main(["verify", str(bundle), *arguments]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["graphs"] and all(told["graphs"].values())
