"""The architecture as ordinary trainable PyTorch modules; knows no checkpoint file and no graph."""

from parley_export.families.covo_audio.configs import (
    AdapterConfig,
    EncoderConfig,
    FlowConfig,
    VocoderConfig,
)
from parley_export.families.covo_audio.modules.adapter import AudioAdapter
from parley_export.families.covo_audio.modules.encoder import AudioEncoder
from parley_export.families.covo_audio.modules.flow import FlowField
from parley_export.families.covo_audio.modules.vocoder import Vocoder
from parley_export.modules.backbone import Backbone
from parley_export.qwen import BackboneConfig

__all__ = [
    "AdapterConfig",
    "AudioAdapter",
    "AudioEncoder",
    "Backbone",
    "BackboneConfig",
    "EncoderConfig",
    "FlowConfig",
    "FlowField",
    "Vocoder",
    "VocoderConfig",
]
