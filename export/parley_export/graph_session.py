"""Runs one graph of a bundle in ONNX Runtime, outside of the engine; knows no stage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int64)": np.int64}


class GraphSession:
    """One thread. Inputs are brought to the graph's types; states that are not given are zero."""

    def __init__(self, file: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        self._session = onnxruntime.InferenceSession(str(file), options, ["CPUExecutionProvider"])
        self._names = [output.name for output in self._session.get_outputs()]

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Output -> value."""
        inputs = {}
        for entry in self._session.get_inputs():
            value = feeds[entry.name] if entry.name in feeds else np.zeros(entry.shape)
            inputs[entry.name] = np.ascontiguousarray(value, TYPES[entry.type])
        return dict(zip(self._names, self._session.run(None, inputs), strict=True))
