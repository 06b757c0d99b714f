"""Step-Audio 2's graphs in ONNX Runtime; knows no expected numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from parley_export.harmonic_vocoder import VocoderConfig

NO_END = 1 << 40


def opened(file: Path) -> onnxruntime.InferenceSession:
    """A session on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return onnxruntime.InferenceSession(str(file), options, ["CPUExecutionProvider"])


class VocoderStream:
    """One reply through the vocoder's graph."""

    def __init__(self, session: onnxruntime.InferenceSession, config: VocoderConfig) -> None:
        self.session, self.config, self.received = session, config, 0
        shape = {i.name: i.shape for i in session.get_inputs()}["state_in.history"]
        self.history = np.zeros(shape, np.float32)

    def run(self, mel: np.ndarray, n: int, end: int, noise: np.ndarray) -> np.ndarray:
        """The first n of `mel`'s frames, the others known behind them, to these n's samples.

        Its frames are followed by silence as far as the graph looks ahead. `noise` begins where
        the stream did; `end` counts from the first of the frames.
        """
        late, frame = self.config.full_lookahead, self.config.samples_per_frame
        begin = frame * self.received
        feeds = {
            "latents": np.pad(mel, ((0, 0), (0, 0), (0, n + late - mel.shape[2]))),
            "noise": noise[..., begin : begin + frame * (n + late)],
            "range": np.array([-self.received, end]),
            "kept": np.array([n]),
            "state_in.history": self.history,
        }
        wave, self.history = self.session.run(["wave", "state_out.history"], feeds)
        self.received += n
        return wave[0, 0, frame * late :]

    def play(self, mel: np.ndarray, noise: np.ndarray, cut: int, lookahead: int) -> np.ndarray:
        """A whole reply `[1, n_mels, T]`, `cut` frames a run, `lookahead` of them waited for."""
        total, waves = mel.shape[2], []
        for at in range(0, total, cut):
            n = min(cut, total - at)
            seen = mel[:, :, at : at + n + lookahead]
            end = total - at if at + n + lookahead >= total else NO_END
            waves.append(self.run(seen, n, end, noise))
        return np.concatenate(waves)
