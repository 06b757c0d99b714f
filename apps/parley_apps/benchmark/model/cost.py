"""Bytes and FLOPs that one chunk of 0.16 s moves through each stage, by arithmetic alone.

A multiply-add counts as two FLOPs. Bytes are those of weights, caches and of the vocoder's signals;
what stays in a processor's caches is left out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from parley_apps.benchmark.model.sizes import Sizes
from parley_apps.flow_facts import flow_facts
from parley_export.work import Work

CHUNK_S = 0.16
FRAMES_PER_CHUNK = 16
ENCODER_FRAMES, LEFT_CONTEXT, SEGMENT_FRAMES = 8, 64, 1500
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

    about: the same for people. encoder_frames, flow_frames: frames that a run computes;
    encoder_keys, flow_keys: those whose keys and values it reads from a cache. passes: of the
    backbone; positions: that they add. guided: evaluations that run both branches.
    vocoder_frames: latent frames that the vocoder computes.
    """

    name: str
    about: str = ""
    encoder_frames: int = ENCODER_FRAMES
    encoder_keys: int = LEFT_CONTEXT
    encoder: str = "f16"
    backbone: str = "q8_0"
    split_head: bool = False
    passes: int = PASSES
    positions: int = POSITIONS
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
    encoder_frames=SEGMENT_FRAMES,
    encoder_keys=0,
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
        "backbone": backbone_cost(sizes, way),
        "flow": flow_cost(sizes, way),
        "vocoder": vocoder_cost(sizes.vocoder, way),
    }


def run_cost(work: Work, rows: int, seen: int, bits: float, key_bits: float) -> Cost:
    """Of one run of `rows` rows that see one another and `seen` earlier ones, from a cache."""
    flops = 2 * rows * (work.macs + work.attention * (seen + rows))
    return Cost(work.weights * bits / 8 + work.cached * seen * key_bits / 8, flops)


def encoder_cost(work: Work, way: Way) -> Cost:
    return run_cost(work, way.encoder_frames, way.encoder_keys, BITS[way.encoder], BITS["f16"])


def backbone_cost(sizes: Sizes, way: Way) -> Cost:
    work = sizes.backbone
    body = work.bytes or work.weights * BITS[way.backbone] / 8
    head = sizes.logits.bytes or sizes.logits.weights * HEAD_BITS[way.backbone] / 8
    heads = float(way.passes)
    if way.split_head:  # one draw of text, the others of audio
        heads = (1 - sizes.audio_share) + (way.passes - 1) * sizes.audio_share
    cache = way.context * work.cached * KV_BITS[way.kv] / 8
    flops = 2 * work.macs * way.positions + 2 * sizes.logits.macs * heads
    attention = 2 * work.attention * way.context * way.positions
    return Cost(way.passes * (body + cache) + heads * head, flops + attention)


def flow_cost(sizes: Sizes, way: Way) -> Cost:
    work, bits = sizes.field, BITS[way.flow]
    branches = way.evaluations + way.guided
    one = run_cost(work, way.flow_frames, way.flow_keys, bits, KV_BITS[way.flow_kv])
    weights = work.weights * bits / 8  # of both branches at once
    n_bytes = way.evaluations * weights + branches * (one.n_bytes - weights)
    flops = branches * one.flops
    if way.modulation:
        flops += way.evaluations * 2 * sizes.modulation.macs
        n_bytes += way.evaluations * sizes.modulation.weights * bits / 8
    return Cost(n_bytes, flops) + run_cost(sizes.codes, way.flow_frames, 0, bits, bits)


def vocoder_cost(work: Work, way: Way) -> Cost:
    n = way.vocoder_frames
    crossings = FUSED_CROSSINGS if way.fused else UNFUSED_CROSSINGS
    traffic = 4 * crossings * work.activated * n
    flops = n * (2 * work.macs + ACTIVATION_FLOPS * work.activated)
    return Cost(work.weights * BITS[way.vocoder] / 8 + traffic, flops)


def own_way(manifest: dict[str, Any]) -> Way:
    """How a bundle's own settings compute a chunk."""
    duplex = manifest["duplex"]
    graph = _graph(manifest, "vocoder", "vocoder_with_noise")
    codes = codes_per_chunk(manifest)
    return Way(
        "bundle",
        "as parley runs it by the bundle's own settings",
        encoder_frames=duplex["chunk_mel_frames"] // 2 if duplex else segment_frames(manifest),
        encoder_keys=duplex["left_context_frames"] if duplex else 0,
        encoder=_graph(manifest, "encoder_chunk", "encoder_segment")["precision"],
        backbone=manifest["backbone"]["precision"],
        passes=codes + 1,  # with one id of text
        positions=codes + (2 if duplex else 1),  # and, while listening, a feature
        context=(duplex or {}).get("window_positions", manifest["backbone"]["context"]),
        **_flow_way(manifest),
        vocoder="f32",  # as it is in memory, however it is stored
        vocoder_frames=_vocoder_frames(manifest),
        fused=bool(graph.get("custom_ops")),
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
        f"branches; a fresh window of a whole segment, the voice's {voice} latent frames and "
        f"{UPSTREAM_REPLY_FRAMES} of the reply anew, a window of {UPSTREAM.vocoder_frames} latent "
        "frames for the vocoder",
        encoder_frames=segment_frames(manifest),
        encoder_keys=0,
        flow_frames=voice + UPSTREAM_REPLY_FRAMES,
        flow_keys=0,
        vocoder_frames=UPSTREAM.vocoder_frames,
    )


def codes_per_chunk(manifest: dict[str, Any]) -> int:
    return int(manifest["flow"]["codes_hz"] * manifest["rates"]["chunk_ms"] // 1000)


def segment_frames(manifest: dict[str, Any]) -> int:
    """Encoder frames of a whole segment, two mel frames each."""
    front_end, rates = manifest["front_end"], manifest["rates"]
    samples = front_end["segment_samples"] * rates["encoder_hz"] // rates["input_hz"]
    return int(samples // front_end["hop"] // 2)


def _flow_way(manifest: dict[str, Any]) -> dict[str, Any]:
    flow, facts = manifest["flow"], flow_facts(manifest)
    per_code = flow["frames_per_code"]
    own = per_code * (codes_per_chunk(manifest) + flow["lookahead_codes"])
    before = facts["prompt_frames"] + per_code * flow["past_codes"]
    cached = flow["mode"] == "cached"
    field = _graph(manifest, "flow_field")
    keys = {t["name"]: t["type"] for t in field["inputs"]}
    return {
        "flow": field["precision"],
        "flow_frames": own if cached else before + own,
        "flow_keys": before if cached else 0,
        "flow_kv": next((kind for name, kind in keys.items() if "prompt_keys" in name), "f32"),
        "evaluations": facts["evaluations"],
        "guided": facts["guided"],
    }


def _vocoder_frames(manifest: dict[str, Any]) -> int:
    """Own frames, and those that a provisional tail of silence adds to a shorter look-ahead."""
    vocoder = manifest["vocoder"]
    behind = vocoder["full_lookahead_frames"] - vocoder["lookahead_frames"]
    return int(codes_per_chunk(manifest) * manifest["flow"]["frames_per_code"] + behind)


def _graph(manifest: dict[str, Any], *names: str) -> dict[str, Any]:
    """The first of them that the bundle has."""
    return dict(next(manifest["graphs"][name] for name in names if name in manifest["graphs"]))
