"""A whole Fun-Audio-Chat bundle: manifest, prompts, and its files against the published numbers."""

import json

import gguf
import numpy as np
import pytest
import torch
from fun_audio_chat_models import BEGIN, IDS, SPEC, Reply, greedy_code, models
from llama_backbone import LlamaBackbone
from step_audio_2_graphs import VocoderStream, opened
from tiny_models import golden, largest_error, relative_error, snr_db
from tokenizers import Tokenizer

import fun_audio_chat_checkpoint as checkpoints
import tolerances
from fun_audio_chat_layout import VOICES
from parley_apps.main import main
from parley_export import command
from parley_export.families.fun_audio_chat import prompts

FLOAT = ["--backbone", "f32", "--head", "f32"]


@pytest.fixture(scope="module")
def checkpoint(fun_audio_chat):
    return fun_audio_chat


@pytest.fixture(scope="module")
def bundle(checkpoint, tmp_path_factory):
    out = tmp_path_factory.mktemp("fun") / "tiny.bundle"
    assert command.main([str(checkpoint), "--out", str(out), *FLOAT]) == 0
    return out


@pytest.fixture(scope="module")
def manifest(bundle):
    return json.loads((bundle / "manifest.json").read_text())


# ------------------------------------------------------------ manifest and prompts


def test_manifest(manifest):
    assert manifest["family"] == "fun_audio_chat"
    assert manifest["rates"]["chunk_ms"] == 200
    vocabulary, head = manifest["vocabulary"], manifest["head"]
    assert (vocabulary["audio_begin"], vocabulary["audio_codes"]) == (SPEC.vocab, SPEC.codes)
    assert vocabulary["control"] == IDS
    assert (head["group"], head["start"], head["end"]) == (5, 243, 244)
    assert (head["vocab_size"], head["width"], head["context"]) == (247, 48, 5 * 2048)
    speech = manifest["turns"]["speech"]
    assert [speech[name] for name in ("begin", "end", "text_pad")] == [307, 308, 310]
    assert (manifest["flow"]["codes_hz"], manifest["flow"]["codes_per_run"]) == (25, 25)
    assert manifest["vocoder"]["lookahead_frames"] == 5
    assert list(manifest["voices"]) == list(VOICES) and manifest["default_voice"] == VOICES[0]
    assert manifest["source"]["notice"] == prompts.NOTICE


def test_show_tells_of_both_decoders(bundle, capsys):
    capsys.readouterr()
    assert main(["show", str(bundle), "--json"]) == 0
    stages = json.loads(capsys.readouterr().out)["stages"]
    assert (stages["backbone"]["width"], stages["head"]["width"]) == (64, 48)
    assert stages["head"]["bytes"] == (bundle / "head.gguf").stat().st_size


def filled(template, **given):
    """A template's text with what stands for its names."""
    for name, value in given.items():
        template = template.replace(f"{{{name}}}", value)
    return template


def test_prompts(checkpoint, manifest):
    tokenizer, numbers = (
        Tokenizer.from_file(str(checkpoint / "tokenizer.json")),
        golden("fun_audio_chat"),
    )
    turns, heard = manifest["turns"], [41, 26]
    placeholders = [prompts.AUDIO_PLACEHOLDER * n for n in heard]
    first = filled(turns["first"], system=prompts.SPOKEN, user=placeholders[0])
    assert tokenizer.encode(first).ids == numbers["turn1_input_ids"].tolist()
    told = bytes(numbers["turn2_prompt_text"]).decode()
    said = told.split(prompts.REPLY)[1].partition(prompts.TURN_END)[0]
    second = first + filled(turns["history"], reply=said)
    second += filled(turns["next"], user=placeholders[1])
    assert tokenizer.encode(second).ids == numbers["turn2_input_ids"].tolist()
    asked = prompts.heard(placeholders[1]) + "\nWhat was said?"
    written = filled(turns["first_text"], system=manifest["prompts"]["written"], user=asked)
    assert tokenizer.encode(written).ids == numbers["s2t_input_ids"].tolist()


# ------------------------------------------------------------ numbers


@pytest.mark.parametrize("turn", ["turn1", "turn2", "script", "s2t"])
def test_backbone(bundle, turn):
    """Its logits along the golden inputs."""
    numbers, backbone = golden("fun_audio_chat"), models().backbone
    heard = numbers["turn2_features"][41:] if turn == "s2t" else numbers[f"{turn}_features"]
    ids = torch.from_numpy(numbers[f"{turn}_input_ids"]).long()
    prompt = backbone.embed(ids, torch.from_numpy(heard), IDS[prompts.AUDIO_PLACEHOLDER])
    engine = LlamaBackbone(bundle / "backbone.gguf")
    rows = [
        engine.feed(prompt[0].numpy()),
        *map(engine.feed, numbers[f"{turn}_step_inputs"][:, None]),
    ]
    assert largest_error(rows[0], numbers[f"{turn}_prefill_logits"]) < tolerances.LOGITS_ABS
    assert largest_error(np.stack(rows), numbers[f"{turn}_step_logits"]) < tolerances.LOGITS_ABS


class HeadOfBundle:
    """The speech head as the engine has it: two graphs and a decoder with a cache of its own."""

    def __init__(self, bundle, head):
        self.config, self.slots = head, opened(bundle / "head_slots.onnx")
        self.decoder = LlamaBackbone(bundle / "head.gguf", n_ctx=2048)
        tensors = {t.name: t for t in gguf.GGUFReader(bundle / "head.gguf").tensors}
        self.table = np.array(tensors["token_embd.weight"].data)
        self.before = head["start"]

    def rows(self, hidden, text):
        """Of positions: hidden states and embeddings of tokens, `[N, width]`."""
        feeds = {"hidden": hidden.numpy(), "text": text.numpy()}
        return self.slots.run(None, feeds)[0]

    def group(self, rows, history):
        """A group of codes, greedy, and their logits."""
        codes, logits = [], []
        for row in rows:
            logits.append(self.decoder.feed((row + self.table[self.before])[None]))
            self.before = greedy_code(torch.tensor(logits[-1]), history, codes)
            codes.append(self.before)
        return codes, np.stack(logits)


@pytest.mark.parametrize("turn", ["turn1", "turn2"])
def test_head(bundle, manifest, turn):
    """All codes of a greedy reply, beside a backbone that goes along the golden tokens."""
    numbers, embed = golden("fun_audio_chat"), models().backbone.model.embed_tokens
    reply, tokens = Reply(greedy_code), numbers[f"{turn}_text_tokens"].tolist()
    ids = torch.from_numpy(numbers[f"{turn}_input_ids"]).long()
    reply.read(ids, torch.from_numpy(numbers[f"{turn}_features"]))
    head = HeadOfBundle(bundle, manifest["head"])
    prompt = models().backbone.embed(
        ids, torch.from_numpy(numbers[f"{turn}_features"]), IDS[prompts.AUDIO_PLACEHOLDER]
    )
    rows = head.rows(models().backbone.model(prompt)[0][0], embed(ids))
    head.decoder.feed(rows[:-5] + head.table[head.before])
    groups, logits = map(list, zip(head.group(rows[-5:], []), strict=True))
    history = []
    for token in tokens[:-1]:
        reply.step(token, -1)
        rows = head.rows(reply.hidden[-1][None], embed(torch.tensor([token])))
        codes, scores = head.group(rows, history)
        groups.append(codes)
        logits.append(scores)
        history = list(reply.history)
    assert groups == numbers[f"{turn}_crq_codes"].tolist()
    got, expected = np.stack(logits[:9]), numbers[f"{turn}_code_logits"]
    assert largest_error(got, expected) < tolerances.LOGITS_ABS


def test_next_input(bundle):
    """The backbone's input of a token and the group of codes beside it."""
    numbers, session = golden("fun_audio_chat"), opened(bundle / "head_input.onnx")
    groups = numbers["turn1_codes"].reshape(-1, 5)
    text = models().backbone.model.embed_tokens(
        torch.from_numpy(numbers["turn1_text_tokens"]).long()
    )
    assert numbers["turn1_text_tokens"][0] == BEGIN
    for i, expected in enumerate(numbers["turn1_step_inputs"][1:], start=1):
        feeds = {"text": text[i : i + 1].numpy(), "codes": groups[i - 1].astype(np.int64)}
        assert largest_error(session.run(None, feeds)[0][0], expected) < tolerances.FEEDBACK_ABS


def test_codes_to_sound(bundle, manifest):
    """The golden codes through the bundle's graphs, whole, and its voice: log-mel, then samples."""
    numbers, voice = golden("fun_audio_chat"), manifest["voices"][manifest["default_voice"]]
    speaker = np.fromfile(bundle / voice["speaker"]["file"], "<f4")[None]
    codes = np.append(numbers["dec_codes"], [-1] * 3)[None].astype(np.int64)
    past = np.zeros((1, SPEC.lookahead_width, 2), np.float32)
    feeds = {"codes": codes, "speaker": speaker, "state_in.lookahead": past}
    given = opened(bundle / "flow_encoder.onnx").run(["token_features"], feeds)[0][0]
    assert relative_error(given[::2, :80], numbers["dec_codes_ahead"]) < tolerances.ENCODER_REL
    assert relative_error(given[0, 80:], numbers["dec_speaker"]) < tolerances.ENCODER_REL
    x = solve(bundle, manifest["flow"], given, numbers["dec_noise"].T)
    assert relative_error(x.T, numbers["dec_mel"]) < tolerances.LATENTS_REL
    vocoder = models().vocoder
    stream = VocoderStream(opened(bundle / "vocoder_with_noise.onnx"), vocoder.config)
    table = torch.from_numpy(checkpoints.source_noise(70 * 480))
    late = vocoder.config.source_lookahead
    noise = np.pad(vocoder.m_source.mix_noise(table).numpy(), ((0, 0), (0, 0), (late, 80 * 480)))
    mel = x.T[None].astype(np.float32)
    wave = stream.play(mel, noise, 50, vocoder.config.full_lookahead)
    assert snr_db(wave, numbers["offline_wave"]) > tolerances.HARMONIC_WAVE_SNR_DB


def solve(bundle, flow, given, noise):
    """Euler's steps as the manifest says, with nothing remembered: log-mel `[T, 80]`."""
    points = 1 - np.cos(np.pi / 2 * np.linspace(0, 1, flow["points"]))
    modulation, field = (opened(bundle / f"flow_{name}.onnx") for name in ("modulation", "field"))
    feeds = {"t": points[:-1].astype(np.float32), "speaker": np.zeros((1, 192), np.float32)}
    (vectors,) = modulation.run(None, feeds)
    x, n = noise, len(given)
    fixed = np.concatenate([given, np.zeros((n, 80), np.float32)], 1)
    for i, step in enumerate(np.diff(points)):
        rows = [np.concatenate([part, x], 1) for part in (fixed, np.zeros_like(fixed))]
        inputs = {
            "inputs": np.stack(rows).astype(np.float32),
            "modulation": vectors[i : i + 1],
            "positions": np.arange(n),
            "prompt_positions": np.arange(n),
            "mask": np.zeros(n, np.float32),
            "carried": np.zeros((2, 30, 2 * SPEC.field_width), np.float32),
        }
        for layer in range(SPEC.field_layers):
            heads, width = SPEC.field_heads, SPEC.field_head_width
            for kind in ("prompt_keys", "past_keys", "past_values"):
                inputs[f"{kind}.{layer}"] = np.zeros((2, heads, 0, width), np.float32)
            inputs[f"prompt_values.{layer}"] = np.zeros((2, heads, width, 0), np.float32)
        guided, free = field.run(["velocity"], inputs)[0]
        x = x + step * (guided + flow["guidance"] * (guided - free))
    return x


def test_every_layer_is_as_its_module(checkpoint, bundle, capsys):
    for stage in ("encoder", "head", "flow_encoder", "flow_modulation"):
        capsys.readouterr()
        arguments = ["--inside", stage, "--checkpoint", str(checkpoint), "--json"]
        assert main(["verify", str(bundle), *arguments]) == 0, stage
        told = json.loads(capsys.readouterr().out)
        assert told["graphs"] and all(told["graphs"].values())


def verified(bundle, checkpoint, arrays, tmp_path, capsys):
    """(exit code, rows by key) of `parley verify` with a golden file of `arrays`."""
    np.savez(tmp_path / "golden.npz", **arrays)
    capsys.readouterr()
    arguments = ["--golden", str(tmp_path / "golden.npz"), "--checkpoint", str(checkpoint)]
    code = main(["verify", str(bundle), *arguments, "--json"])
    rows = json.loads(capsys.readouterr().out)["rows"]
    return code, {row["stage"]: row["pass"] for row in rows}


def test_verify(checkpoint, bundle, tmp_path, capsys):
    """The bundle's files without the engine; what is wrong is named."""
    arrays = golden("fun_audio_chat")
    code, rows = verified(bundle, checkpoint, arrays, tmp_path, capsys)
    assert code == 0 and all(rows.values())
    wanted = {"turn1_input_ids", "turn2_codes", "script_code_logits", "s2t_text_tokens", "dec_mel"}
    assert wanted | {"offline_wave", "turn1_step_inputs", "field_out"} <= rows.keys()
    changed = {name: arrays[name].copy() for name in ("turn2_codes", "dec_mel")}
    changed["turn2_codes"][3] += 1
    changed["dec_mel"][:, 50:] *= 1.01
    code, rows = verified(bundle, checkpoint, arrays | changed, tmp_path, capsys)
    failed = {name for name, passed in rows.items() if not passed}
    assert code == 1 and {"turn2_codes", "dec_mel"} <= failed
    assert failed <= {"turn2_codes", "dec_mel", "hift_wave", "offline_wave"}


def test_backbone_and_head_are_quantized_apart(checkpoint, tmp_path):
    out = tmp_path / "out"
    arguments = ["--backbone", "f32", "--head", "q8_0"]
    assert command.main([str(checkpoint), "--out", str(out), *arguments]) == 0
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["backbone"]["precision"], manifest["head"]["precision"]) == ("f32", "q8_0")
    kinds = {t.tensor_type.name for t in gguf.GGUFReader(out / "backbone.gguf").tensors}
    assert kinds == {"F32"}
    kinds = {t.tensor_type.name for t in gguf.GGUFReader(out / "head.gguf").tensors}
    assert kinds - {"F32"}


def test_duplex_is_refused(checkpoint, tmp_path, capsys):
    arguments = [str(checkpoint), "--out", str(tmp_path / "out"), "--duplex", *FLOAT]
    assert command.main(arguments) == 3
    assert "whole turns" in capsys.readouterr().err
