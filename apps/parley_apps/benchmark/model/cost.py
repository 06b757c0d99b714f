"""Bytes and FLOPs that one chunk of 0.16 s moves through each stage, by arithmetic alone.

A multiply-add counts as two FLOPs. Bytes are those of weights, caches and of the vocoder's signals;
what stays in a processor's caches is left out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from parley_apps.benchmark.model.sizes import (
    BackboneSizes,
    EncoderSizes,
    FlowSizes,
    Sizes,
    VocoderSizes,
)
from parley_apps.show import flow_facts

CHUNK_S = 0.16
CODES_PER_CHUNK, FRAMES_PER_CHUNK = 4, 16
PASSES, POSITIONS = 5, 6  # of the backbone, while speaking
PROMPT_FRAMES = 1167  # of the published voice
UPSTREAM_REPLY_FRAMES = 96  # latent frames behind the prompt: 0.96 s
# Of one value through up-sampling, sine and down-sampling: 2 x 24 for the filters' twelve taps, and
# about 18 for each of the two sines with their squares.
ACTIVATION_FLOPS = 84
# How often a value of the activation crosses memory: read and written once, or by every node.
FUSED_CROSSINGS, UNFUSED_CROSSINGS = 2, 10

# Bits of a weight. q4_k_m: 4.683 GB of a 7B file less embedding and head, over 6.525 G weights.
BITS = {"f32": 32.0, "f16": 16.0, "q8_0": 8.5, "q6_k": 6.5625, "q4_k_m": 4.817}
HEAD_BITS = {**BITS, "q4_k_m": BITS["q6_k"]}
KV_BITS = {"f32": 32.0, "f16": 16.0, "q8_0": 8.5}


@dataclass(frozen=True)
class Cost:
    """What a chunk moves."""

    n_bytes: float
    flops: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.n_bytes + other.n_bytes, self.flops + other.flops)

    def seconds(self, bytes_per_s: float, flops_per_s: float) -> float:
        """The least time it can take: memory or arithmetic, whichever is longer."""
        return max(self.n_bytes / bytes_per_s, self.flops / flops_per_s)

    def binds(self, bytes_per_s: float, flops_per_s: float) -> str:
        return "memory" if self.n_bytes / bytes_per_s > self.flops / flops_per_s else "arithmetic"


@dataclass(frozen=True)
class Way:
    """How a chunk is computed: everything that its cost depends on beside the sizes.

    about: the same for people. flow_frames: latent frames that an evaluation computes; flow_keys:
    those whose keys and values it reads from a cache. guided: evaluations that run both branches.
    vocoder_frames: latent frames that the vocoder computes.
    """

    name: str
    about: str = ""
    encoder_fresh: bool = False
    encoder: str = "f16"
    backbone: str = "q8_0"
    split_head: bool = False
    passes: int = PASSES
    context: int = 4096
    kv: str = "f16"
    flow: str = "f16"
    flow_frames: int = 40
    flow_keys: int = PROMPT_FRAMES
    flow_kv: str = "f16"
    evaluations: int = 18
    guided: int = 18
    modulation: bool = False
    vocoder: str = "f16"
    vocoder_frames: int = FRAMES_PER_CHUNK
    fused: bool = True


# Everything anew: a 30 s window, prompt and 0.96 s of reply, the vocoder's reach to both sides.
UPSTREAM = Way(
    "upstream",
    "f16; a fresh 30 s window, voice prompt and 0.96 s of reply anew in 18 evaluations of both "
    "branches, the vocoder's reach to both sides",
    encoder_fresh=True,
    backbone="f16",
    flow_frames=PROMPT_FRAMES + UPSTREAM_REPLY_FRAMES,
    flow_keys=0,
    vocoder_frames=FRAMES_PER_CHUNK + 54 + 13,
)
# The same numbers of evaluations and branches, with every state carried.
FAITHFUL = Way("faithful", "the same evaluations, every state carried, the backbone in q8_0")
# Five Euler steps, 4-bit backbone whose head is read in parts, 8-bit encoder and keys.
BALANCED = replace(
    FAITHFUL,
    name="balanced",
    about="faithful with 5 evaluations, backbone q4_k_m, its keys q8_0; also what parley cannot do "
    "yet: an encoder in q8_0, a head of which a pass reads only what it may draw",
    encoder="q8_0",
    backbone="q4_k_m",
    split_head=True,
    kv="q8_0",
    evaluations=5,
    guided=5,
)
WAYS = (UPSTREAM, FAITHFUL, BALANCED)


def costs(sizes: Sizes, way: Way) -> dict[str, Cost]:
    """Stage -> cost of one speaking chunk."""
    return {
        "encoder": encoder_cost(sizes.encoder, way),
        "backbone": backbone_cost(sizes.backbone, way),
        "flow": flow_cost(sizes.flow, way),
        "vocoder": vocoder_cost(sizes.vocoder, way),
    }


def encoder_cost(s: EncoderSizes, way: Way) -> Cost:
    frames = s.positions if way.encoder_fresh else s.chunk_frames
    keys = s.positions if way.encoder_fresh else s.left_context + s.chunk_frames
    attention = 4 * s.layers * keys * s.width * frames
    # Each halving stage of the adapter works on half as many frames as the one before.
    adapter = sum(2 * n * (frames >> (i + 1)) for i, n in enumerate(s.adapter))
    cache = 0 if way.encoder_fresh else 2 * s.layers * s.left_context * s.width
    width = BITS[way.encoder] / 8
    flops = 2 * (s.layer_weights + s.stem) * frames + attention + adapter
    return Cost(width * s.weights + BITS["f16"] / 8 * cache, flops)


def backbone_cost(s: BackboneSizes, way: Way) -> Cost:
    body = s.body_bytes or s.body * BITS[way.backbone] / 8
    head = s.head_bytes or s.rows * s.width * HEAD_BITS[way.backbone] / 8
    heads = float(way.passes)
    if way.split_head:  # one draw of text, the others of audio
        heads = (s.text_rows + (way.passes - 1) * s.audio_rows) / s.rows
    cache = way.context * 2 * s.layers * s.kv_width * KV_BITS[way.kv] / 8
    flops = 2 * s.body * POSITIONS + 2 * s.rows * s.width * heads
    attention = 4 * s.layers * way.context * s.width * POSITIONS
    return Cost(way.passes * (body + cache) + heads * head, flops + attention)


def flow_cost(s: FlowSizes, way: Way) -> Cost:
    branches = way.evaluations + way.guided
    keys = way.flow_keys + way.flow_frames
    frame = 2 * s.weights + 4 * s.layers * keys * s.hidden
    flops = float(branches * way.flow_frames * frame)
    n_bytes = way.evaluations * s.weights * BITS[way.flow] / 8
    n_bytes += branches * 2 * s.layers * s.hidden * way.flow_keys * KV_BITS[way.flow_kv] / 8
    if way.modulation:
        flops += way.evaluations * 2 * s.modulation
        n_bytes += way.evaluations * s.modulation * BITS[way.flow] / 8
    return Cost(n_bytes, flops)


def vocoder_cost(s: VocoderSizes, way: Way) -> Cost:
    n = way.vocoder_frames
    crossings = FUSED_CROSSINGS if way.fused else UNFUSED_CROSSINGS
    traffic = 4 * crossings * s.activated * n
    flops = n * (2 * s.macs + ACTIVATION_FLOPS * s.activated)
    return Cost(s.weights * BITS[way.vocoder] / 8 + traffic, flops)


def own_way(manifest: dict[str, Any]) -> Way:
    """How a bundle's own settings compute a chunk."""
    duplex, vocoder = manifest["duplex"], manifest["graphs"]["vocoder"]
    return Way(
        "bundle",
        "as parley runs it by the bundle's own settings",
        encoder_fresh=duplex is None,
        encoder=_precision(manifest, "encoder_chunk", "encoder_segment"),
        backbone=manifest["backbone"]["precision"],
        context=(duplex or {}).get("window_positions", manifest["backbone"]["context"]),
        **_flow_way(manifest),
        vocoder="f32",  # as it is in memory, however it is stored
        vocoder_frames=_vocoder_frames(manifest["vocoder"]),
        fused=bool(vocoder.get("custom_ops")),
    )


def upstream_way(manifest: dict[str, Any]) -> Way:
    """Upstream's loop over a bundle's own files and voice, with the bundle's evaluations.

    How often upstream evaluates its own model is not written in a bundle.
    """
    voice = manifest["voices"][manifest["default_voice"]]["latents"]["shape"][0]
    own = own_way(manifest)
    return replace(
        own,
        name="upstream",
        about=f"the same files and {own.evaluations} evaluations, {own.guided} of them with both "
        f"branches; a fresh 30 s window, the voice's {voice} latent frames and 0.96 s of reply "
        f"anew, a window of {UPSTREAM.vocoder_frames} latent frames for the vocoder",
        encoder_fresh=True,
        flow_frames=voice + UPSTREAM_REPLY_FRAMES,
        flow_keys=0,
        vocoder_frames=UPSTREAM.vocoder_frames,
    )


def _flow_way(manifest: dict[str, Any]) -> dict[str, Any]:
    flow, facts = manifest["flow"], flow_facts(manifest)
    per_code = flow["frames_per_code"]
    own = per_code * (CODES_PER_CHUNK + flow["lookahead_codes"])
    before = facts["prompt_frames"] + per_code * flow["past_codes"]
    cached = flow["mode"] == "cached"
    keys = {t["name"]: t["type"] for t in manifest["graphs"]["flow_field"]["inputs"]}
    return {
        "flow": _precision(manifest, "flow_field"),
        "flow_frames": own if cached else before + own,
        "flow_keys": before if cached else 0,
        "flow_kv": next((kind for name, kind in keys.items() if "prompt_keys" in name), "f32"),
        "evaluations": facts["evaluations"],
        "guided": facts["guided"],
    }


def _vocoder_frames(vocoder: dict[str, Any]) -> int:
    """Own frames, and those that a provisional tail of silence adds to a shorter look-ahead."""
    behind = vocoder["full_lookahead_frames"] - vocoder["lookahead_frames"]
    return FRAMES_PER_CHUNK + int(behind)


def _precision(manifest: dict[str, Any], *graphs: str) -> str:
    found = (manifest["graphs"][g]["precision"] for g in graphs if g in manifest["graphs"])
    return str(next(found))
