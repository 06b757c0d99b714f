"""Makes a published Whisper encoder chunk-streaming by distillation; knows no adapter.

Teacher: the published form on a whole window of clean speech. Student: the chunk form of the same
weights on what a microphone hears of it. Any encoder of the published layout can be distilled: that
of a checkpoint that `parley export` reads (`--checkpoint`), or Whisper tiny.en.

The table of positions is in the features, so student and teacher stand at the same places of it: a
window is the whole table, and half of the students come from the end of the window before.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from parley_export.families.covo_audio.modules import AudioEncoder, EncoderConfig
from parley_export.families.covo_audio.modules.front_end import (
    FrontEndConfig,
    chunk_log_mel,
    segment_log_mel,
)
from train.bank import BANK
from train.listen_model import encode
from train.optim import Optimizers, Run, time_schedule
from train.whisper import build_encoder, published_weights
from train.windows import SpeechPool, Windows

RUN = BANK.parent / "runs/distill"
KEPT = Path(__file__).resolve().parent.parent / "checkpoints/encoder.safetensors"
FRAME = 320  # samples of an encoder frame
# A causal frame ends where the published one has its middle, and the first convolution, too, looks
# back instead of ahead: the teacher hears what the student does, this many samples later.
DELAY = 200
BATCH = 1  # windows of 30 s
RATE, DECAY_FROM = 4e-4, 0.3
MINUTES = 120.0
REFRESH_STEPS = 200


class Distiller:
    """A teacher, its student, and what both hear."""

    def __init__(self, teacher: AudioEncoder) -> None:
        config = teacher.config
        self.teacher = teacher.eval().requires_grad_(False)
        self.student = AudioEncoder(config)
        self.student.load_state_dict(teacher.state_dict())
        samples = config.positions * FRAME
        front = FrontEndConfig(n_mels=config.n_mels)
        self.front = replace(front, segment_samples=samples * front.input_hz // front.encoder_hz)
        # Encoder frames that the student may have before the window.
        self.before = config.left_context_frames
        self.samples = (self.before + config.positions) * FRAME

    def teacher_frames(self, clean: Tensor) -> Tensor:
        """`[B, samples]` to the published form's frames of the window `[B, positions, D]`."""
        late = clean[:, self.before * FRAME - DELAY : clean.shape[1] - DELAY]
        mel = torch.stack([segment_log_mel(row, self.front) for row in late])
        with torch.inference_mode():
            return self.teacher(mel).float().clone()

    def student_frames(self, heard: Tensor, fresh: bool) -> Tensor:
        """The chunk form's frames `[B, positions, D]`; `fresh` begins a stream with the window."""
        begin = self.before if fresh else 0
        with torch.autocast(heard.device.type, enabled=False):
            mel = torch.stack([chunk_log_mel(row, self.front) for row in heard[:, begin * FRAME :]])
        offset = torch.full((len(heard),), begin - self.before) % self.student.config.positions
        return encode(self.student, mel, offset)[:, self.before - begin :]

    def loss(self, target: Tensor, heard: Tensor, fresh: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """Squared error over the teacher's variance plus one minus the cosine, to `target`."""
        found = self.student_frames(heard, fresh).float()
        error = (found - target).square().mean() / target.var()
        cosine = functional.cosine_similarity(found, target, dim=-1).mean()
        return error + 1 - cosine, {"error": error, "cosine": cosine}


def distill(distiller: Distiller, windows: Windows, folder: Path, minutes: float) -> Run:
    """Run to the end, or on from where it stopped; the student lies in folder/last.pt."""
    optimizers = Optimizers(
        distiller.student.named_parameters(), RATE, matrix=lambda name, tensor: False
    )
    parts = {"model": distiller.student, "optimizers": optimizers}
    run = Run(folder, parts, 60 * minutes)
    while run.goes_on:
        if run.steps % REFRESH_STEPS == 0:
            windows.pool.refresh()
        clean = [windows.dense() for _ in range(BATCH)]
        with torch.autocast("cpu", torch.bfloat16):
            target = distiller.teacher_frames(torch.from_numpy(np.stack(clean)))
        # The teacher's work serves two steps: the same speech in other rooms and noises.
        for fresh in (True, False):
            heard = torch.from_numpy(np.stack([windows.hear(wave) for wave in clean]))
            with torch.autocast("cpu", torch.bfloat16):
                loss, told = distiller.loss(target, heard, fresh)
            loss.backward()
            norm = optimizers.step(time_schedule(run.progress, decay_from=DECAY_FROM))
            run.after_step(loss=loss.item(), norm=norm, **told)
    return run


def load_student(path: Path = RUN / "last.pt") -> AudioEncoder:
    """The distilled encoder of a run's last.pt, or of a file that `keep` wrote, in float32."""
    if path.suffix == ".safetensors":
        state = load_file(path)
    else:
        state = torch.load(path, map_location="cpu", weights_only=True)["parts"]["model"]
    width, n_mels, _ = state["conv1.weight"].shape
    encoder = AudioEncoder(EncoderConfig(
        width=width,
        layers=sum(name.endswith("fc1.weight") for name in state),
        heads=width // 64,
        ffn_width=len(state["layers.0.fc1.bias"]),
        n_mels=n_mels,
        positions=len(state["embed_positions.weight"]),
    ))  # fmt: skip
    encoder.load_state_dict(state)
    return encoder


def keep(encoder: AudioEncoder, path: Path = KEPT) -> None:
    """Write the encoder in float16, half of what a run keeps and all that trainings need."""
    state = {name: tensor.half().contiguous() for name, tensor in encoder.state_dict().items()}
    save_file(state, path)


def distilled() -> AudioEncoder:
    """The encoder of the run in build/nano where there is one, or else the one that was kept.

    Raises:
        FileNotFoundError: there is neither.
    """
    for path in (RUN / "last.pt", KEPT):
        if path.is_file():
            return load_student(path)
    raise FileNotFoundError(
        f"[distill.load] expected {RUN / 'last.pt'} or {KEPT}, got neither; run "
        "`python -m train distill` first"
    )


def open_teacher(checkpoint: Path | None) -> AudioEncoder:
    """The encoder of a checkpoint's folder, or Whisper tiny.en."""
    if checkpoint is None:
        return build_encoder(published_weights())
    from parley_export.families.covo_audio.checkpoint import locate, read_checkpoint
    from parley_export.loading import load_module

    opened = read_checkpoint(locate(checkpoint))
    encoder, _ = opened.configs.hearing
    return load_module(encoder, opened.read).float()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `python -m train distill`."""
    parser.add_argument("--minutes", type=float, default=MINUTES, help="training time")
    parser.add_argument("--checkpoint", type=Path, help="a published checkpoint's folder")
    parser.add_argument("--out", type=Path, default=RUN, help="the run's folder")
    parser.add_argument(
        "--speech", type=Path, action="append", help="a folder of the bank's shards (again: more)"
    )

    parser.add_argument(
        "--keep", action="store_true", help=f"only write the run's encoder to {KEPT.name}"
    )


def run(args: argparse.Namespace) -> None:
    """The step `distill`."""
    torch.set_num_threads(1)
    if args.keep:
        return keep(load_student(args.out / "last.pt"))
    pool = SpeechPool(args.speech or [BANK])
    print("speech, in minutes:", {name: round(s / 60) for name, s in pool.seconds().items()})
    distiller = Distiller(open_teacher(args.checkpoint))
    windows = Windows(pool, distiller.samples, int.from_bytes(os.urandom(4)))
    distill(distiller, windows, args.out, args.minutes)
