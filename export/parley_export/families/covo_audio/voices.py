"""Where a Covo-Audio voice's three arrays lie; its latents are normalised."""

from __future__ import annotations

from pathlib import Path

from parley_export import voices
from parley_export.families.covo_audio.configs import FlowConfig

FILES = ("prompt_token.npy", "prompt_latent.npy", "speaker_embed.npy")


def read_voice(folder: Path, flow: FlowConfig) -> voices.Voice:
    """Read and check a voice folder; raises as `voices.read_voice` does."""
    sizes = voices.VoiceSizes(flow.codes, flow.z, flow.speaker_width)
    return voices.read_voice(folder, FILES, sizes)
