"""The vocoder: latents to samples; knows no code and no stream.

Architecture: BigVGAN (Lee et al., 2023) with causal convolutions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from parley_export.families.covo_audio.configs import VocoderConfig
from parley_export.families.covo_audio.modules.activation import AliasFreeActivation


class NormedConv1d(nn.Module):
    """Convolution with weight norm over dimension 0 (Salimans and Kingma, 2016).

    Trains on `weight_g` and `weight_v`; `fold_weight_norm` turns them into one `weight`.
    """

    def __init__(self, in_width: int, out_width: int, kernel: int, dilation: int = 1) -> None:
        super().__init__()
        self.dilation = dilation
        self._create(torch.empty(out_width, in_width, kernel), out_width)

    def _create(self, direction: Tensor, out_width: int) -> None:
        nn.init.kaiming_uniform_(direction, a=math.sqrt(5))
        self.bias = nn.Parameter(torch.zeros(out_width))
        self.weight_g = nn.Parameter(direction.norm(dim=(1, 2), keepdim=True))
        self.weight_v = nn.Parameter(direction)

    @property
    def taps(self) -> int:
        """Length of the kernel."""
        return self._parameters.get("weight", self._parameters.get("weight_v")).shape[-1]

    def kernel(self) -> Tensor:
        """The weight in use, `[out, in, k]`."""
        if "weight" in self._parameters:
            return self.weight
        norm = self.weight_v.norm(dim=(1, 2), keepdim=True)
        return self.weight_v * (self.weight_g / norm)

    def fold_weight_norm(self) -> None:
        with torch.no_grad():
            weight = self.kernel()
        del self.weight_g, self.weight_v
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """No padding: `[B, in, T]` -> `[B, out, T - dilation * (k - 1)]`."""
        return functional.conv1d(x, self.kernel(), self.bias, dilation=self.dilation)


class CausalConv1d(NormedConv1d):
    """`[B, in, T]` -> `[B, out, T]`, zeros before the first sample."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(functional.pad(x, (self.dilation * (self.taps - 1), 0)))


class CausalUpsample1d(NormedConv1d):
    """`[B, in, T]` -> `[B, out, rate * T]`; weights are `[in, out, 2 * rate]`."""

    def __init__(self, in_width: int, out_width: int, rate: int) -> None:
        nn.Module.__init__(self)
        self.rate = rate
        self._create(torch.empty(in_width, out_width, 2 * rate), out_width)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.conv_transpose1d(x, self.kernel(), self.bias, stride=self.rate)
        return x[..., : -self.rate]


class AmpBlock(nn.Module):
    """Residual convolutions between alias-free activations, `[B, C, T]` in and out."""

    def __init__(self, width: int, kernel: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(CausalConv1d(width, width, kernel, d) for d in dilations)
        self.convs2 = nn.ModuleList(CausalConv1d(width, width, kernel) for _ in dilations)
        self.activations = nn.ModuleList(
            AliasFreeActivation(width) for _ in range(2 * len(dilations))
        )

    def forward(self, x: Tensor) -> Tensor:
        for i, (dilated, plain) in enumerate(zip(self.convs1, self.convs2, strict=True)):
            y = dilated(self.activations[2 * i](x))
            x = x + plain(self.activations[2 * i + 1](y))
        return x


class Vocoder(nn.Module):
    """Latents `[B, z, T]` (denormalised) to samples `[B, 1, samples_per_latent * T]`."""

    def __init__(self, config: VocoderConfig) -> None:
        super().__init__()
        self.config = config
        self.conv_pre = NormedConv1d(config.z, config.width, 7)
        self.ups, self.resblocks = nn.ModuleList(), nn.ModuleList()
        width = config.width
        for rate, out_width in zip(config.rates, config.widths, strict=True):
            self.ups.append(nn.ModuleList([CausalUpsample1d(width, out_width, rate)]))
            width = out_width
            for kernel, dilations in zip(config.block_kernels, config.block_dilations, strict=True):
                self.resblocks.append(AmpBlock(width, kernel, dilations))
        self.activation_post = AliasFreeActivation(width)
        self.conv_post = CausalConv1d(width, 1, 7)

    def constants(self) -> dict[str, Tensor]:
        """Tensors that a checkpoint may carry though they are no weights: compare, don't load."""
        return {
            f"{name}.{leaf}": module.filter[None, None]
            for name, module in self.named_modules()
            if isinstance(module, AliasFreeActivation)
            for leaf in ("upsample.filter", "downsample.lowpass.filter")
        }

    def fold_weight_norm(self) -> None:
        """For export: one weight per convolution; the module no longer trains."""
        for module in self.modules():
            if isinstance(module, NormedConv1d):
                module.fold_weight_norm()

    def forward(self, latents: Tensor) -> Tensor:
        x = self.conv_pre(functional.pad(latents, (3, 3)))
        n_blocks = len(self.config.block_kernels)
        for stage, up in enumerate(self.ups):
            x = up[0](x)
            blocks = self.resblocks[stage * n_blocks : (stage + 1) * n_blocks]
            x = torch.stack([block(x) for block in blocks]).mean(0)
        return torch.tanh(self.conv_post(self.activation_post(x)))
