"""Train the flow decoder on exactly the windows that the runtime streams; knows no waveform.

Flow matching (Lipman et al., 2023): x_t = (1 - t) noise + t latents, velocity latents - noise.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from parley_export.families.covo_audio.modules import FlowConfig, FlowField
from parley_export.families.covo_audio.modules.flow import FlowAttention
from parley_export.modules.rotary import rotate
from train.latents import BANDS, FRAMES_PER_CODE, raw_latents_of
from train.optim import Average, Optimizers, Run, time_schedule
from train.shipped_voice import shipped_flow, shipped_speaker, shipped_stats
from train.voice_data import (
    CHUNK_CODES,
    NANO,
    TRAINING,
    VOICES,
    Reply,
    Weights,
    load_replies,
    module_with,
    weights_of,
)

CONFIG = FlowConfig(
    layers=4,
    hidden=192,
    ffn_width=512,
    heads=3,
    codes=512,
    code_width=64,
    z=BANDS,
    speaker_width=64,
    frames_per_code=FRAMES_PER_CODE,
    points=2,
    guidance=0.0,
)
RUN = NANO / "runs" / "flow"
PROMPT_CODES, PAST_CODES = 12, 8
PROMPT_NOISE = 0.1  # at most, of the prompt's latents, so that small differences don't matter
PAST_CODES_KINDS, PAST_CODES_CHANCES = (8, 4, 0), (0.7, 0.15, 0.15)


@dataclass(frozen=True)
class Stats:
    """Mean and variance per band of raw latents, `[64]`."""

    mean: np.ndarray
    var: np.ndarray

    def normalised(self, raw: np.ndarray) -> np.ndarray:
        return ((raw - self.mean) / np.sqrt(self.var)).astype(np.float32)


def latent_stats(replies: list[Reply]) -> Stats:
    raw = np.concatenate([raw_latents_of(r.wave) for r in replies])
    return Stats(raw.mean(0).astype(np.float32), raw.var(0).astype(np.float32))


def speaker_vector(voice: int) -> np.ndarray:
    """A fixed vector `[1, S]` per voice: signs of a Hadamard matrix's rows, orthogonal."""
    signs = [(-1) ** bin(column & (voice + 1)).count("1") for column in range(CONFIG.speaker_width)]
    return np.array([signs], np.float32)


class Windows:
    """Training windows: a prompt of the voice's speech, then codes of a reply.

    The prompts' sentences are conditions alone; the loss never sees them.
    """

    def __init__(self, replies: list[Reply], prompts: list[Reply], stats: Stats, seed: int) -> None:
        self.replies, self.stats = [*replies, *prompts], stats
        self.latents = [stats.normalised(raw_latents_of(r.wave)) for r in self.replies]
        self.random = np.random.default_rng(seed)
        self.sizes = np.array([len(r.codes) for r in self.replies])
        self.sizes[len(replies) :] = 0
        self.voices = np.array([r.voice for r in self.replies])
        self.fixed = [self.find_prompt(len(replies) + i) for i in range(len(prompts))]

    def batch(self, n: int) -> dict[str, Tensor]:
        """codes [n, N], latents [n, 4 N, z], speaker [n, S]; the past has one length for all."""
        past = int(self.random.choice(PAST_CODES_KINDS, p=PAST_CODES_CHANCES))
        size = past + CHUNK_CODES
        fitting = np.maximum(self.sizes - size + CHUNK_CODES, 0) * (self.sizes >= size)
        if past < PAST_CODES:  # only a reply's first chunks have less past
            fitting = (self.sizes >= size).astype(np.float64)
        rows = []
        for which in self.random.choice(len(self.replies), n, p=fitting / fitting.sum()):
            last = self.sizes[which] - size if past == PAST_CODES else 0
            begin = CHUNK_CODES * int(self.random.integers(0, last // CHUNK_CODES + 1))
            rows.append([self.prompt(self.voices[which]), (int(which), begin, size)])
        return self.gather(rows)

    def prompt(self, voice: int) -> tuple[int, int, int]:
        """The voice's own prompt half of the time, else any piece of its speech."""
        if self.random.random() < 0.5:
            return self.fixed[voice]
        mine = np.flatnonzero((self.voices == voice) & (self.sizes >= PROMPT_CODES))
        which = int(self.random.choice(mine))
        begin = int(self.random.integers(0, self.sizes[which] - PROMPT_CODES + 1))
        return which, begin, PROMPT_CODES

    def gather(self, rows: list[list[tuple[int, int, int]]]) -> dict[str, Tensor]:
        """Each row is made of pieces (reply, first code, codes), the prompt first."""
        codes, latents = [], []
        for row in rows:
            pieces = [(self.replies[i], self.latents[i], at, at + size) for i, at, size in row]
            codes.append(np.concatenate([r.codes[at:end] for r, _, at, end in pieces]))
            frames = [x[FRAMES_PER_CODE * at : FRAMES_PER_CODE * end] for _, x, at, end in pieces]
            latents.append(np.concatenate(frames))
        speakers = [speaker_vector(self.voices[row[-1][0]])[0] for row in rows]
        return {
            "codes": torch.from_numpy(np.stack(codes)),
            "latents": torch.from_numpy(np.stack(latents)),
            "speaker": torch.from_numpy(np.stack(speakers)),
        }

    def find_prompt(self, which: int) -> tuple[int, int, int]:
        """The voice's own prompt: the piece of that sentence with most kinds of codes, the
        earliest of those; both voices' are the same since they share their codes."""
        codes = self.replies[which].codes
        begins = range(0, len(codes) - PROMPT_CODES + 1)
        kinds = [len(set(codes[at : at + PROMPT_CODES].tolist())) for at in begins]
        return which, int(np.argmax(kinds)), PROMPT_CODES


class PlainAttention(FlowAttention):
    """The same attention as matrix products in float32: on a CPU its backward pass is faster."""

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        q, k, v = (
            project(x).float().unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = rotate(q, cos.float(), sin.float()), rotate(k, cos.float(), sin.float())
        with torch.autocast("cpu", enabled=False):
            scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
            mixed = scores.softmax(-1) @ v
        return self.o_proj(mixed.transpose(1, 2).flatten(-2))


def make_flow() -> FlowField:
    """A field as the published one begins: it gives 0 and its blocks change nothing."""
    flow = FlowField(CONFIG)
    for block in flow.blocks:
        block.attn.__class__ = PlainAttention
        nn.init.zeros_(block.modulation_layer[1].weight)
        nn.init.zeros_(block.modulation_layer[1].bias)
    nn.init.zeros_(flow.output_layer.linear.weight)
    nn.init.zeros_(flow.output_layer.linear.bias)
    return flow


def draw_times(n: int) -> Tensor:
    """Times `[n]`: half logit-normal (Esser et al., 2024), half those that sampling meets."""
    t = torch.sigmoid(torch.randn(n))
    choice = torch.rand(n)
    t = torch.where(choice < 0.5, torch.full_like(t, 0.5), t)
    return torch.where(choice < 0.25, torch.zeros_like(t), t)


def flow_loss(flow: FlowField, batch: dict[str, Tensor]) -> Tensor:
    """Mean squared error of the velocity on past and own frames."""
    latents, prompt = batch["latents"], PROMPT_CODES * FRAMES_PER_CODE
    t, noise = draw_times(len(latents)), torch.randn_like(latents)
    x = torch.lerp(noise, latents, t[:, None, None])
    clean, condition = latents[:, :prompt], torch.zeros_like(latents)
    level = PROMPT_NOISE * torch.rand(len(latents), 1, 1)
    condition[:, :prompt] = clean + level * torch.randn_like(clean)
    with torch.autocast("cpu", torch.bfloat16):
        features = flow.condition(batch["codes"])
        velocity = flow(x, t, features, condition, batch["speaker"])
    return (velocity.float() - (latents - noise))[:, prompt:].square().mean()


def stream(
    flow: FlowField, voice: dict[str, Tensor], codes: Tensor, seed: int = 0, lookahead: int = 0
) -> Tensor:
    """Normalised latents `[4 N, z]` of `codes` [N], window by window as the runtime makes them.

    `voice` holds tokens [P], latents [4 P, z] and speaker [1, S]. Noise belongs to its frame.
    """
    random = torch.Generator().manual_seed(seed)
    factor, prompt = CONFIG.frames_per_code, len(voice["tokens"])
    noise = torch.randn((prompt + len(codes)) * factor, CONFIG.z, generator=random)
    out = []
    for own in range(0, len(codes), CHUNK_CODES):
        begin, end = max(own - PAST_CODES, 0), min(own + CHUNK_CODES + lookahead, len(codes))
        window = torch.cat([voice["tokens"], codes[begin:end]])[None]
        x = torch.cat([noise[: prompt * factor], noise[(prompt + begin) * factor :]])
        x = x[None, : window.shape[1] * factor]
        condition = torch.zeros_like(x)
        condition[:, : prompt * factor] = voice["latents"]
        result = flow.solve(x, flow.condition(window), condition, voice["speaker"])[-1][0]
        at = (prompt + own - begin) * factor
        out.append(result[at : at + CHUNK_CODES * factor])
    return torch.cat(out)


def train(
    seconds: float,
    *,
    batch: int = 32,
    lr: float = 2e-3,
    run: Path = RUN,
    start: Weights | None = None,
) -> None:
    """Train for `seconds` in all; goes on where an earlier call was stopped.

    start: weights that a new run begins with, else random ones.
    """
    flow = make_flow()
    if start is not None:
        flow.load_state_dict(start)
    optimizers = Optimizers(flow.named_parameters(), lr)
    average = Average(flow, 0.999)
    loop = Run(run, {"model": flow, "optimizers": optimizers, "average": average}, seconds)
    torch.manual_seed(loop.steps)
    replies = load_replies(*TRAINING)
    windows = Windows(replies, load_replies("prompt"), latent_stats(replies), seed=loop.steps)
    write_voices(windows, run / "voices")
    while loop.goes_on:
        loss = flow_loss(flow, windows.batch(batch))
        loss.backward()
        optimizers.step(time_schedule(loop.progress, decay_from=0.4))
        average.update(flow)
        loop.after_step(loss=loss)


def write_voices(windows: Windows, folder: Path) -> None:
    """Write each voice's three arrays as a checkpoint has them, and the latents' statistics."""
    for voice, name in enumerate(VOICES):
        batch = windows.gather([[windows.fixed[voice]]])
        save_voice(folder / name, batch["codes"][0], batch["latents"][0], batch["speaker"][0])
    save_stats(folder, windows.stats)


def save_voice(folder: Path, tokens: Tensor, latents: Tensor, speaker: Tensor) -> None:
    """One voice: tokens [P], latents [4 P, z] and speaker [S]."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "prompt_token.npy", tokens[None].numpy().astype(np.int32))
    np.save(folder / "prompt_latent.npy", latents[None].numpy())
    np.save(folder / "speaker_embed.npy", speaker[None].numpy())


def save_stats(folder: Path, stats: Stats) -> None:
    np.save(folder / "global_mean_var.npy", np.concatenate([stats.mean, stats.var])[None])


def read_voice(name: str, run: Path = RUN) -> dict[str, Tensor]:
    """A voice as `stream` takes it, of the training, or else of the shipped bundle."""
    folder = run / "voices" / name
    if folder.is_dir():
        leaves = ("prompt_token", "prompt_latent", "speaker_embed")
        tokens, latents, speaker = (np.load(folder / f"{leaf}.npy")[0] for leaf in leaves)
    else:
        tokens, latents, speaker = shipped_speaker(name).values()
    return {
        "tokens": torch.from_numpy(tokens).long(),
        "latents": torch.from_numpy(latents),
        "speaker": torch.from_numpy(speaker)[None],
    }


def read_stats(run: Path = RUN) -> Stats:
    """Of the training, or else of the shipped bundle."""
    path = run / "voices/global_mean_var.npy"
    if not path.is_file():
        return Stats(*shipped_stats())
    mean, var = np.load(path)[0].reshape(2, BANDS)
    return Stats(mean, var)


def load_flow(run: Path = RUN) -> FlowField:
    """The field for use, in float32: trained (moving average), or else as it ships."""
    flow = FlowField(CONFIG)
    return module_with(flow, weights_of(run, lambda: shipped_flow(flow)))


def flow_state_dict(run: Path = RUN) -> dict[str, Tensor]:
    """The flow's weights under the checkpoint's names (`token2latent.`), float32."""
    return {f"token2latent.{name}": tensor for name, tensor in load_flow(run).state_dict().items()}


def overfits(steps: int = 200) -> Iterator[float]:
    """Loss on one fixed batch, step by step: it must fall far before a long run is worth it."""
    torch.manual_seed(0)
    flow, replies = make_flow(), load_replies(*TRAINING)[:8]
    optimizers = Optimizers(flow.named_parameters(), 2e-3)
    windows = Windows(replies, load_replies("prompt"), latent_stats(replies), seed=1)
    batch = windows.batch(8)
    for _ in range(steps):
        loss = flow_loss(flow, batch)
        loss.backward()
        optimizers.step(1.0)
        yield float(loss.detach())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=float, default=28)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--run", type=Path, default=RUN)
    parser.add_argument(
        "--shipped", action="store_true", help="a new run begins with the shipped bundle's weights"
    )


def run(arguments: argparse.Namespace) -> None:
    """`python -m train flow`"""
    torch.set_num_threads(1)
    start = shipped_flow(FlowField(CONFIG)) if arguments.shipped else None
    train(arguments.minutes * 60, batch=arguments.batch, run=arguments.run, start=start)
