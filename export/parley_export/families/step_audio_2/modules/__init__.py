"""The architecture as ordinary trainable PyTorch modules; knows no checkpoint file and no graph."""

from parley_export.families.step_audio_2.modules.encoder import AudioAdapter, AudioEncoder
from parley_export.families.step_audio_2.modules.flow import Flow
from parley_export.modules.harmonic_vocoder import Vocoder

__all__ = ["AudioAdapter", "AudioEncoder", "Flow", "Vocoder"]
