"""What this machine's memory and arithmetic can do at most; measured in a process of its own.

The matrix product is NumPy's and ONNX Runtime's, whichever is faster.

`python -m parley_apps.benchmark.model.bound` prints it as JSON; the environment sets the threads of
NumPy's matrix product, so it must be set before NumPy is imported.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
READ_FLOATS = 1 << 26  # 256 MB per thread, more than any cache
TRIAD_FLOATS = 1 << 24
SIDE = 2048  # of the square matrices
REPEATS = 7


def measure(threads: int) -> dict[str, Any]:
    """{"threads", "read_gb_per_s", "triad_gb_per_s", "gemm_gflops"}, the best of several tries.

    Read: every thread sums its own array. Triad: a = b + c, three arrays, write included. gemm:
    float32 matrix product. The larger of the two bandwidths is the bound.
    """
    command = [sys.executable, "-m", __spec__.name, str(threads)]
    environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def _measure_here(threads: int) -> dict[str, Any]:
    return {
        "threads": threads,
        "read_gb_per_s": _read_bytes_per_s(threads) / 1e9,
        "triad_gb_per_s": _triad_bytes_per_s(threads) / 1e9,
        "gemm_gflops": _flops_per_s(threads) / 1e9,
    }


def _read_bytes_per_s(threads: int) -> float:
    arrays = [np.ones(READ_FLOATS, np.float32) for _ in range(threads)]
    seconds = _best(threads, lambda k: np.dot(arrays[k], arrays[k]))
    return threads * arrays[0].nbytes / seconds


def _triad_bytes_per_s(threads: int) -> float:
    arrays = [np.ones((3, TRIAD_FLOATS), np.float32) for _ in range(threads)]
    seconds = _best(threads, lambda k: np.add(arrays[k][0], arrays[k][1], out=arrays[k][2]))
    return threads * arrays[0].nbytes / seconds


def _flops_per_s(threads: int) -> float:
    import onnxruntime

    a, b = np.ones((2, SIDE, SIDE), np.float32)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        matmul_model(SIDE), options, providers=["CPUExecutionProvider"]
    )
    seconds = min(
        _best(1, lambda _: np.matmul(a, b)),  # both bring their own threads
        _best(1, lambda _: session.run(None, {"a": a, "b": b})),
    )
    return 2 * SIDE**3 / seconds


def matmul_model(side: int) -> bytes:
    """An ONNX model of one product of square float32 matrices, as protobuf bytes."""

    def message(number: int, *parts: bytes) -> bytes:
        body = b"".join(parts)
        return varint(number << 3 | 2) + varint(len(body)) + body

    def integer(number: int, value: int) -> bytes:
        return varint(number << 3) + varint(value)

    def varint(value: int) -> bytes:
        more = value >> 7
        return bytes([value & 0x7F | 0x80]) + varint(more) if more else bytes([value])

    def matrix(number: int, name: bytes) -> bytes:
        extent = message(1, integer(1, side))  # a dimension's value
        kind = message(1, integer(1, 1), message(2, extent, extent))  # float32, shape
        return message(number, message(1, name), message(2, kind))

    node = message(1, message(1, b"a"), message(1, b"b"), message(2, b"c"), message(4, b"MatMul"))
    graph = message(
        7, node, message(2, b"product"), matrix(11, b"a"), matrix(11, b"b"), matrix(12, b"c")
    )
    return integer(1, 10) + graph + message(8, integer(2, 20))  # IR version, operator set


def _best(threads: int, work: Any) -> float:
    """Seconds of the fastest try in which every thread does `work` once."""
    tries = []
    for _ in range(REPEATS):
        others = [threading.Thread(target=work, args=(k,)) for k in range(1, threads)]
        begin = time.perf_counter()
        for other in others:
            other.start()
        work(0)
        for other in others:
            other.join()
        tries.append(time.perf_counter() - begin)
    return min(tries)


if __name__ == "__main__":
    print(json.dumps(_measure_here(int(sys.argv[1]))))
