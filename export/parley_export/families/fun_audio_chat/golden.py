"""A bundle's files, run outside of the engine, against the published code's numbers.

For bundles in float32. Graphs run in ONNX Runtime and both decoders in llama.cpp; only the
backbone's states, which the head sees, come from its module. Keys are those of the golden file.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parley_export import loading
from parley_export.families.fun_audio_chat.checkpoint import HEAD_TABLE, Checkpoint
from parley_export.families.fun_audio_chat.modules import front_end
from parley_export.family import Compared
from parley_export.graph_session import GraphSession
from parley_export.modules.backbone import Backbone, penalize
from parley_export.modules.code_flow import LOOKAHEAD, PADDING, cosine_times, guided_euler

Arrays = Mapping[str, np.ndarray]
NOISE_SEED = zlib.crc32(b"hift.source_noise")  # of the table that the golden waves were made with
FIELD_TIME = 0.25
# Of a reply: a row for every backbone pass, or for every one behind the prompt.
KEPT = ("step_logits", "hidden", "step_inputs", "code_logits", "crq_codes")


def golden(read: Checkpoint, bundle: Path, manifest: Any, arrays: Arrays) -> Iterator[Compared]:
    """Every number that the file has and the bundle can give, in a turn's order."""
    hearing = _Hearing(read, bundle, arrays)
    yield from hearing.rows()
    parts = _Parts(read, bundle, manifest)
    for turn in ("turn1", "turn2", "script"):
        if f"{turn}_input_ids" in arrays:
            yield from _Reply(parts, arrays, turn, hearing.features(turn)).rows()
    if "s2t_input_ids" in arrays:
        yield from _written(parts, arrays)
    yield from _Speech(read, bundle, manifest, arrays).rows()


class _Hearing:
    """Recordings to features."""

    def __init__(self, read: Checkpoint, bundle: Path, arrays: Arrays) -> None:
        self.configs, self.arrays = read.configs, arrays
        self.graph = GraphSession(bundle / "encoder_segment.onnx")
        self.clip = self.configs.clip_seconds * front_end.ENCODER_HZ

    def heard(self, samples: np.ndarray) -> dict[str, np.ndarray]:
        encoder = self.configs.encoder
        log_mel = front_end.log_mel(torch.from_numpy(samples), encoder.n_mels, self.clip).numpy()
        found = self.graph.run({"log_mel": log_mel[None]})
        n = front_end.count_features(len(samples), encoder.group)
        features = front_end.place(torch.from_numpy(found["features"][0]), n).numpy()
        return {"log_mel": log_mel, "encoder": found["encoded"][0], "features": features}

    def features(self, turn: str) -> np.ndarray:
        """Of a prompt: the file's own, or those of its sound."""
        if turn == "script" and "turn2_wav16k" in self.arrays:
            return self.heard(self.arrays["turn2_wav16k"])["features"]
        return self.arrays[f"{turn}_features"]

    def rows(self) -> Iterator[Compared]:
        arrays, sound = self.arrays, self.arrays.get("turn1_wav16k")
        if sound is None:
            return
        ours = self.heard(sound)
        cuts = {
            "turn1_log_mel": ("log_mel", ours["log_mel"], 1),
            "turn1_encoder": ("encoder", ours["encoder"], 0),
            "turn1_features": ("features", ours["features"], 0),
        }
        for key, (kind, got, axis) in cuts.items():
            for name, ends in ((key, slice(None)), (f"{key}_end", slice(None, None, -1))):
                if name not in arrays:
                    continue
                n = arrays[name].shape[axis]
                begin = 0 if ends.step is None else got.shape[axis] - n
                yield name, kind, got.take(range(begin, begin + n), axis), arrays[name]
        for key in arrays:
            if key.startswith("clip") and key.endswith("_features"):
                n = int(key[4:].partition("_")[0])
                if n and len(arrays[key]):
                    got = self.heard(sound[40000 : 40000 + n])["features"]
                    yield key, "features", got, arrays[key]


class _Parts:
    """Both decoders, and what lies between them."""

    def __init__(self, read: Checkpoint, bundle: Path, manifest: Any) -> None:
        configs = read.configs
        module = loading.Module("backbone", "language_model.", Backbone, configs.backbone)
        self.backbone: Any = loading.load_module(module, read.read).float()
        self.bundle, self.head = bundle, manifest["head"]
        self.placeholder = manifest["vocabulary"]["audio_placeholder"]
        self.speech = manifest["turns"]["speech"]
        self.slots = GraphSession(bundle / "head_slots.onnx")
        self.input = GraphSession(bundle / "head_input.onnx")
        self.table = read.read(HEAD_TABLE).numpy()

    def decoder(self, name: str) -> Any:
        """An empty one."""
        from parley import backbone

        return backbone.open_bench(self.bundle / f"{name}.gguf", kv="f32", n_cells=4096)


class _Reply:
    """A greedy reply by both decoders: text by raw logits, codes behind the penalty."""

    def __init__(self, parts: _Parts, arrays: Arrays, turn: str, features: np.ndarray) -> None:
        self.parts, self.arrays, self.turn = parts, arrays, turn
        self.ids = torch.from_numpy(arrays[f"{turn}_input_ids"]).long()
        self.features = torch.from_numpy(np.ascontiguousarray(features))
        self.text, self.head = parts.decoder("backbone"), parts.decoder("head")
        self.embed = parts.backbone.model.embed_tokens
        self.cache: Any = None
        self.before = int(parts.head["start"])
        self.kept: dict[str, list[Any]] = {
            name: []
            for name in ("step_logits", "hidden", "step_inputs", "code_logits", "crq_codes")
        }
        self.history: list[int] = []

    def rows(self) -> Iterator[Compared]:
        arrays, turn = self.arrays, self.turn
        tokens = [int(token) for token in arrays[f"{turn}_text_tokens"]]
        dictated = turn == "script"
        if f"{turn}_prompt_text" in arrays:
            yield f"{turn}_input_ids", "tokens", *self.prompt_ids()
        self.read_prompt()
        said, speaking = [int(self.parts.speech["begin"])], False
        for i, token in enumerate(tokens[:-1]):
            speaking = self.step(token, speaking)
            best = tokens[i + 1] if dictated else int(np.argmax(self.kept["step_logits"][-1]))
            ended = not speaking and self.kept["crq_codes"][-1].count(self.parts.head["end"])
            said.append(int(self.parts.speech["end"]) if ended else best)
        yield f"{turn}_text_tokens", "tokens", np.array(said), np.array(tokens)
        yield f"{turn}_codes", "tokens", np.array(self.history), arrays[f"{turn}_codes"]
        kinds = {"hidden": "logits", "step_inputs": "feedback", "crq_codes": "tokens"}
        for name, rows in self.kept.items():
            expected = arrays[f"{turn}_{name}"]
            got = np.stack([np.asarray(row) for row in rows[: len(expected)]])
            yield f"{turn}_{name}", kinds.get(name, "logits"), got, expected

    def prompt_ids(self) -> tuple[np.ndarray, np.ndarray]:
        """The prompt's text in ids, and the golden ones with a recording's places as one."""
        text = bytes(self.arrays[f"{self.turn}_prompt_text"]).decode()
        ids, place = self.ids.tolist(), self.parts.placeholder
        once = [i for n, i in enumerate(ids) if i != place or ids[n - 1] != place]
        return np.array(self.text.tokenize(text, True)), np.array(once)

    def read_prompt(self) -> None:
        x = self.parts.backbone.embed(self.ids, self.features, self.parts.placeholder)
        hidden = self.think(x, self.ids)
        slots = self.slots(hidden, self.ids)
        n = self.parts.head["group"]
        self.head.read(slots[:-n] + self.parts.table[self.before])
        self.speak(slots[-n:], speaking=False)

    def think(self, x: Tensor, ids: Tensor) -> Tensor:
        """Backbone rows `[1, T, width]` through the GGUF and its module; states `[T, width]`."""
        self.kept["step_logits"].append(self.text.read(x[0].numpy()))
        hidden, self.cache = self.parts.backbone.model(x, self.cache)
        self.kept["hidden"].append(hidden[0, -1].numpy())
        return hidden[0]

    def slots(self, hidden: Tensor, ids: Tensor) -> np.ndarray:
        feeds = {"hidden": hidden.numpy(), "text": self.embed(ids).numpy()}
        return self.parts.slots.run(feeds)["slots"]

    def step(self, token: int, speaking: bool) -> bool:
        """Feeds a token; whether speech goes on behind it."""
        ids, group = torch.tensor([token]), self.parts.head["group"]
        x = self.embed(ids)
        if speaking:
            feeds = {"text": x.numpy(), "codes": np.array(self.history[-group:])}
            x = torch.from_numpy(self.parts.input.run(feeds)["row"])
        self.kept["step_inputs"].append(x[0].numpy())
        speaking = speaking or token == self.parts.speech["begin"]
        return self.speak(self.slots(self.think(x[None], ids), ids), speaking)

    def speak(self, slots: np.ndarray, speaking: bool) -> bool:
        codes: list[int] = []
        logits = []
        for slot in slots:
            row = slot + self.parts.table[self.before]
            logits.append(self.head.read(row[None]))
            self.before = self.choose(torch.from_numpy(logits[-1]), codes)
            codes.append(self.before)
        self.kept["code_logits"].append(np.stack(logits))
        self.kept["crq_codes"].append(codes)
        if not speaking:
            return False
        ended = self.parts.head["end"] in codes
        self.history += [self.parts.head["end"]] * len(codes) if ended else codes
        return not ended

    def choose(self, logits: Tensor, group: list[int]) -> int:
        if self.turn == "script":
            row = self.arrays["script_crq_codes"][len(self.kept["crq_codes"])]
            return int(row[len(group)])
        seen = torch.tensor([*self.history, *group], dtype=torch.int64)
        penalty = self.parts.head["sampling"]["repetition_penalty"]
        return int(penalize(logits, seen, penalty).argmax())


def _written(parts: _Parts, arrays: Arrays) -> Iterator[Compared]:
    """A reply of text alone, to the second recording: no head has a part in it."""
    ids = torch.from_numpy(arrays["s2t_input_ids"]).long()
    features = torch.from_numpy(arrays["turn2_features"][len(arrays["turn1_features"]) :])
    x, decoder = (
        parts.backbone.embed(ids, features, parts.placeholder)[0],
        parts.decoder("backbone"),
    )
    rows: list[np.ndarray] = []
    tokens: list[int] = []
    for _ in arrays["s2t_text_tokens"]:
        rows.append(decoder.read(x.numpy()))
        tokens.append(int(rows[-1].argmax()))
        x = parts.backbone.model.embed_tokens(torch.tensor(tokens[-1:]))
    expected = arrays["s2t_step_logits"]
    yield "s2t_step_logits", "logits", np.stack(rows[: len(expected)]), expected
    yield "s2t_text_tokens", "tokens", np.array(tokens), arrays["s2t_text_tokens"]


class _Speech:
    """Codes to sound."""

    def __init__(self, read: Checkpoint, bundle: Path, manifest: Any, arrays: Arrays) -> None:
        self.configs, self.arrays, self.manifest = read.configs, arrays, manifest
        self.sessions = {
            name: GraphSession(bundle / f"{name}.onnx")
            for name in ("flow_encoder", "flow_modulation", "flow_field", "vocoder_with_noise")
        }
        vocoder = read.configs.speech[1]
        self.vocoder: Any = loading.load_module(vocoder, read.read)
        self.voices = read.voices

    def rows(self) -> Iterator[Compared]:
        arrays, n_mels = self.arrays, self.configs.vocoder.n_mels
        if "dec_codes" in arrays:
            given = self.given(arrays["dec_codes"])
            yield "dec_codes_ahead", "encoder", given[::2, :n_mels], arrays["dec_codes_ahead"]
            yield "dec_speaker", "encoder", given[0, n_mels:], arrays["dec_speaker"]
            trajectory = self.solve(given, arrays["dec_noise"].T)
            yield "dec_mel_first_step", "latents", trajectory[0].T, arrays["dec_mel_first_step"]
            yield "dec_mel", "latents", trajectory[-1].T, arrays["dec_mel"]
        for mel, n_frames, wave in (("dec_mel", 40, "hift_wave"), ("dec_mel", 0, "offline_wave")):
            if wave in arrays and mel in arrays:
                rows = arrays[mel][:, : n_frames or None]
                yield wave, "wave24k", self.wave(rows), arrays[wave]
        if "field_in_seed" in arrays:
            yield "field_out", "field", self.field_out(), arrays["field_out"]

    def given(self, codes: np.ndarray) -> np.ndarray:
        """What the field is given of a whole reply, `[T, 2 n_mels]`."""
        name = bytes(self.arrays["dec_voice_name"]).decode()
        past = np.zeros((1, self.configs.flow.lookahead_width, 2))
        feeds = {
            "codes": np.append(codes, [PADDING] * LOOKAHEAD)[None],
            "speaker": self.voices[name].speaker[None],
            "state_in.lookahead": past,
        }
        return self.sessions["flow_encoder"].run(feeds)["token_features"][0]

    def modulation(self, t: Tensor) -> np.ndarray:
        feeds = {"t": t.numpy(), "speaker": np.zeros((1, self.configs.flow.speaker_width))}
        return self.sessions["flow_modulation"].run(feeds)["modulation"]

    def field(self, inputs: np.ndarray, modulation: np.ndarray) -> Tensor:
        """Rows of codes, speaker, condition and state `[2, T, 4 n_mels]`, nothing recalled."""
        config, n = self.configs.flow.field, inputs.shape[1]
        none = np.zeros((2, config.heads, 0, config.head_width))
        feeds = {
            "inputs": inputs,
            "modulation": modulation,
            "positions": np.arange(n),
            "prompt_positions": np.arange(n),
            "mask": np.zeros(n),
            "carried": np.zeros((2, config.conv_kernel - 1, 2 * config.hidden)),
        }
        for i in range(config.layers):
            for name in ("prompt_keys", "past_keys", "past_values"):
                feeds[f"{name}.{i}"] = none
            feeds[f"prompt_values.{i}"] = none.transpose(0, 1, 3, 2)
        return torch.from_numpy(self.sessions["flow_field"].run(feeds)["velocity"])

    def solve(self, given: np.ndarray, noise: np.ndarray) -> list[np.ndarray]:
        flow = self.manifest["flow"]
        said = np.concatenate([given, np.zeros_like(noise)], 1)
        fixed = np.stack([said, np.zeros_like(said)])

        def evaluate(step: int, x: Tensor, t: Tensor) -> Tensor:
            inputs = np.concatenate([fixed, x.numpy()], 2)
            return self.field(inputs, self.modulation(t[None]))

        start = torch.from_numpy(np.ascontiguousarray(noise))[None]
        times = cosine_times(flow["points"] - 1)
        return [x[0].numpy() for x in guided_euler(start, times, flow["guidance"], evaluate)]

    def field_out(self) -> np.ndarray:
        draw = np.random.default_rng(int(self.arrays["field_in_seed"]))
        batch, z, n = self.arrays["field_out"].shape
        x, said, voice, condition = (
            draw.standard_normal(shape).astype(np.float32)
            for shape in ((batch, z, n), (batch, z, n), (batch, z), (batch, z, n))
        )
        voice = np.broadcast_to(voice[..., None], x.shape)
        inputs = np.concatenate([said, voice, condition, x], 1).transpose(0, 2, 1)
        velocity = self.field(inputs, self.modulation(torch.tensor([FIELD_TIME])))
        return velocity.numpy().transpose(0, 2, 1)

    def wave(self, mel: np.ndarray) -> np.ndarray:
        """A whole reply's `[n_mels, T]` through the graph at once."""
        config = self.configs.vocoder
        late, n, frame = config.full_lookahead, mel.shape[1], config.samples_per_frame
        draw = np.random.default_rng(NOISE_SEED)
        table = draw.random((n * frame, config.harmonics), np.float32)
        own = self.vocoder.m_source.mix_noise(torch.from_numpy(table)).numpy()
        before = config.source_lookahead
        feeds = {
            "latents": np.pad(mel, ((0, 0), (0, late)))[None],
            "noise": np.pad(own, ((0, 0), (0, 0), (before, late * frame - before))),
            "range": np.array([0, n]),
            "kept": np.array([n]),
        }
        return self.sessions["vocoder_with_noise"].run(feeds)["wave"][0, 0, late * frame :]
