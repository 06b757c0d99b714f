"""The vocoder's activation on the fused CPU kernel, for training; knows no layer around it.

The kernel is compiled when it is first needed, for the processor at hand; where no compiler is
found, the modules stay as they are and training is about ten times slower.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import torch
from torch import Tensor, nn

from parley_export.families.covo_audio.modules.activation import AliasFreeActivation

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "kernels" / "snakebeta"
SOURCES = [FOLDER / "snakebeta_cpu.cpp", FOLDER / "snakebeta_backward.cpp"]
FLAGS = [
    "-O3",
    "-std=c++20",
    "-ffp-contract=fast",
    "-Wno-psabi",  # vectors are passed between inlined functions only
    "-fPIC",
    "-shared",
    "-march=native",
    "-mprefer-vector-width=512",
]


class FusedActivation(AliasFreeActivation):
    """An `AliasFreeActivation` whose float32 arithmetic on a CPU runs in the kernel."""

    def forward(self, x: Tensor) -> Tensor:
        return SnakeBetaFunction.apply(x.float(), self.act.alpha, self.act.beta)


class Window(ctypes.Structure):
    """`parley_snakebeta_window`."""

    _fields_ = (
        ("channels", ctypes.c_size_t),
        ("samples", ctypes.c_size_t),
        ("first", ctypes.c_int64),
        ("end", ctypes.c_int64),
        ("left", ctypes.c_size_t),
        ("right", ctypes.c_size_t),
    )


class SnakeBetaFunction(torch.autograd.Function):
    """`x` [B, C, T] float32 on the CPU, `alpha` and `beta` [C] -> [B, C, T]."""

    @staticmethod
    def forward(ctx, x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
        x = x.contiguous()
        ctx.save_for_backward(x, alpha, beta)
        out = torch.empty_like(x)
        batch, channels, samples = x.shape
        whole = Window(channels, samples, 0, samples, 0, 0)
        inputs = (t.data_ptr() for t in (x, alpha, beta))
        library().parley_snakebeta_forward(
            ctypes.byref(whole), *inputs, 0, batch * channels, out.data_ptr()
        )
        return out

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, alpha, beta = ctx.saved_tensors
        grad = grad.contiguous()
        grads = torch.empty_like(x), torch.zeros_like(alpha), torch.zeros_like(beta)
        scratch = torch.empty(library().parley_snakebeta_backward_scratch(x.shape[-1]))
        inputs = (t.data_ptr() for t in (x, alpha, beta, grad))
        outputs = (t.data_ptr() for t in grads)
        library().parley_snakebeta_backward(*inputs, *x.shape, scratch.data_ptr(), *outputs)
        return grads


def fuse(module: nn.Module) -> bool:
    """Let every activation inside run on the kernel; False where it cannot be compiled."""
    if shutil.which(_compiler()) is None:
        return False
    library()
    for part in module.modules():
        if type(part) is AliasFreeActivation:
            part.__class__ = FusedActivation
    return True


@functools.cache
def library() -> ctypes.CDLL:
    """The compiled kernel, kept under build/ by the hash of what it was made from.

    Raises:
        OSError: the compiler failed; its words are in the message.
    """
    text = b"".join(path.read_bytes() for path in sorted(FOLDER.glob("snakebeta*")))
    key = hashlib.sha256(text + " ".join(FLAGS).encode() + _processor()).hexdigest()[:16]
    path = ROOT / "build" / "nano" / "kernels" / f"snakebeta-{key}.so"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        command = [_compiler(), *FLAGS, f"-I{ROOT}", *map(str, SOURCES), "-o", str(partial)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(f"[fused.compile] expected {' '.join(command)} to work: {done.stderr}")
        partial.replace(path)
    found = ctypes.CDLL(str(path))
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    found.parley_snakebeta_backward_scratch.argtypes = [size]
    found.parley_snakebeta_backward_scratch.restype = size
    found.parley_snakebeta_forward.argtypes = [pointer] * 4 + [size] * 2 + [pointer]
    found.parley_snakebeta_backward.argtypes = [pointer] * 4 + [size] * 3 + [pointer] * 4
    found.parley_snakebeta_forward.restype = found.parley_snakebeta_backward.restype = None
    return found


def _compiler() -> str:
    return os.environ.get("CXX", "c++")


def _processor() -> bytes:
    """What tells processors apart, since code for this one may not run on another."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return b""
    return "\n".join(sorted({line for line in lines if line.startswith("flags")})).encode()
