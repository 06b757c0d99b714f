"""Fun-Audio-Chat's modules with the weights of a test checkpoint, and its replies; no files."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace

import torch
from torch import Tensor, nn

import fun_audio_chat_checkpoint
import fun_audio_chat_layout as layout
from parley_export.families.fun_audio_chat import configs, modules
from parley_export.modules.backbone import Backbone, penalize
from parley_export.qwen import BackboneConfig

SPEC = layout.TINY
IDS = {name: SPEC.base_vocab + i for i, name in enumerate(layout.SPECIALS)}
BEGIN, END, STOP = IDS["<|audio_bos|>"], IDS["<|audio_eos|>"], IDS["<|im_end|>"]
PENALTY = 1.2


@functools.cache
def models() -> SimpleNamespace:
    """encoder, tower, backbone, head, flow and vocoder of TINY; float32, no gradients."""
    torch.set_num_threads(1)
    config, decoder = layout.model_config(SPEC), layout.decoder_config(SPEC)
    heard = config["audio_config"]
    decoder["hift"]["sampling_rate"] = decoder["sample_rate"]
    head = configs.HeadConfig.from_dict(heard)
    text = BackboneConfig.from_dict(config["text_config"], "text_config", "qwen3")
    speech, flow = layout.speech_shapes(SPEC), layout.flow_shapes(SPEC)
    vocoder = configs.vocoder_config(decoder["hift"])
    return SimpleNamespace(
        backbone=_fill(Backbone(text), "language_model.", layout.backbone_shapes(SPEC)),
        encoder=_fill(
            modules.AudioEncoder(configs.EncoderConfig.from_dict(heard)),
            "continuous_audio_tower.",
            layout.encoder_shapes(SPEC),
        ),
        tower=_fill(modules.AudioTower(head), "audio_tower.", speech),
        head=_fill(modules.SpeechHead(head), "audio_invert_tower.", speech),
        flow=_fill(modules.Flow(configs.FlowConfig.from_dict(decoder["flow"])), "", flow),
        vocoder=_fill(modules.Vocoder(vocoder), "", layout.vocoder_shapes(SPEC)),
    )


# What a file holds beside the weights.
_NO_WEIGHTS = ("audio_bos_eos_token.weight", "inv_freq")


def _fill(module: nn.Module, prefix: str, shapes: layout.Shapes) -> nn.Module:
    values = fun_audio_chat_checkpoint.tensors(shapes)
    state = {
        name.removeprefix(prefix): torch.from_numpy(value)
        for name, value in values.items()
        if name.startswith(prefix) and not name.endswith(_NO_WEIGHTS)
    }
    module.load_state_dict(state)
    return module.eval().requires_grad_(False)


@dataclass
class Reply:
    """A reply as the published code makes it, both heads and both caches.

    `codes_of(logits, history of the reply, group so far)` draws a code; every list has a row per
    backbone pass, of which the first belongs to the prompt's last position.
    """

    codes_of: Callable[[Tensor, list[int], list[int]], int]
    logits: list[Tensor] = field(default_factory=list)
    hidden: list[Tensor] = field(default_factory=list)
    inputs: list[Tensor] = field(default_factory=list)
    code_logits: list[Tensor] = field(default_factory=list)
    groups: list[list[int]] = field(default_factory=list)
    history: list[int] = field(default_factory=list)
    top: Tensor = field(default_factory=lambda: torch.zeros(0))  # best logit of each prompt slot
    is_speaking: bool = False

    def read(self, ids: Tensor, features: Tensor) -> None:
        """The prompt: ids `[T]`, features `[n, width]` at its placeholders."""
        parts = models()
        x = parts.backbone.embed(ids, features, IDS["<|AUDIO|>"])
        hidden, self.cache = parts.backbone.model(x)
        slots = parts.head.slots(hidden[0], parts.backbone.model.embed_tokens(ids))
        start, n = parts.head.config.start, len(slots) - SPEC.group + 1
        logits, self.head_cache = parts.head(
            slots[:n], torch.full((n,), start), parts.tower.embed_tokens.weight, None
        )
        self.top, rows = logits.max(1).values, []
        group, last = [self.codes_of(logits[-1], self.history, [])], logits[-1]
        rows.append(last)
        for slot in slots[n:]:
            group.append(self._code(slot, group[-1], group, rows))
        self.top = torch.cat([self.top, torch.stack([row.max() for row in rows[1:]])])
        self._keep(hidden[0, -1], rows, group)

    def _code(self, slot: Tensor, before: int, group: list[int], rows: list[Tensor]) -> int:
        parts = models()
        table = parts.tower.embed_tokens.weight
        logits, self.head_cache = parts.head(
            slot[None], torch.tensor([before]), table, self.head_cache
        )
        rows.append(logits[0])
        return self.codes_of(logits[0], self.history, group)

    def _keep(self, hidden: Tensor, rows: list[Tensor], group: list[int]) -> None:
        self.hidden.append(hidden)
        self.logits.append(models().backbone.lm_head(hidden))
        self.code_logits.append(torch.stack(rows))
        self.groups.append(group)

    def step(self, token: int, chosen: int) -> int:
        """Feeds `token`; `chosen` is what the text head would say next, which speech may replace.

        Returns what is said next.
        """
        parts = models()
        text = parts.backbone.model.embed_tokens(torch.tensor([token]))
        x = text
        if self.is_speaking:
            x = parts.tower.compose(text[0], torch.tensor(self.history[-SPEC.group :]))[None]
        self.is_speaking |= token == BEGIN
        self.inputs.append(x[0])
        hidden, self.cache = parts.backbone.model(x[None], self.cache)
        group, rows = [], []
        for slot in parts.head.slots(hidden[0], text):
            group.append(self._code(slot, [*self.groups[-1], *group][-1], group, rows))
        self._keep(hidden[0, -1], rows, group)
        if chosen < 0:
            chosen = int(self.logits[-1].argmax())
        if not self.is_speaking:
            return chosen
        if parts.head.config.end in group:
            group, chosen, self.is_speaking = [parts.head.config.end] * SPEC.group, END, False
        self.history += group
        return chosen


def greedy_code(logits: Tensor, history: list[int], group: list[int]) -> int:
    """The best behind the published penalty."""
    seen = torch.tensor([*history, *group], dtype=torch.int64)
    return int(penalize(logits, seen, PENALTY).argmax())
