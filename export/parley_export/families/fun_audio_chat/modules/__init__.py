"""The architecture as ordinary trainable PyTorch modules; knows no checkpoint file and no graph."""

from parley_export.families.fun_audio_chat.modules.encoder import AudioEncoder
from parley_export.families.fun_audio_chat.modules.flow import Flow
from parley_export.families.fun_audio_chat.modules.head import AudioTower, SpeechHead
from parley_export.modules.harmonic_vocoder import Vocoder

__all__ = ["AudioEncoder", "AudioTower", "Flow", "SpeechHead", "Vocoder"]
