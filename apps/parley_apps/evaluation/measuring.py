"""One mix measured against the bundle it was made from, as plain data; knows no table."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from parley.metrics import percentiles
from parley_apps.evaluation import divergence, forced, quality, speech, stage_loss, take
from parley_apps.evaluation.judge import normal

if TYPE_CHECKING:
    import parley
    from parley.events import Floats

ROUNDS = 3  # of the two bundles in turn, for speed
SPEED_S = 20.0  # of the recording that speed is measured on
STAGES_OF = 3  # recordings whose stages are compared
SOUNDS_OF = 20  # whose sound a score and a recogniser hear
ENERGY = Path("/sys/class/powercap/intel-rapl:0/energy_uj")

Tell = Callable[[str], None]


@dataclass
class Recording:
    """What a user says, at the bundle's rate, and what the reference answered."""

    name: str
    samples: Floats
    reference: forced.Played


def losses(
    bundle: parley.Bundle, recordings: Sequence[Recording], *, seed: int, workers: int, tell: Tell
) -> dict[str, Any]:
    """Draws by kind, sound and words of `bundle` made to say what the reference said."""
    kinds = {kind: divergence.Losses() for kind in divergence.KINDS}
    ids = divergence.control_ids(bundle.manifest), divergence.audio_ids(bundle.manifest)

    def run(recording: Recording) -> forced.Played:
        return forced.play(bundle, recording.samples, seed=seed, like=recording.reference.draws)

    played: list[forced.Played] = []
    with ThreadPoolExecutor(workers) as pool:
        for n, one in enumerate(pool.map(run, recordings)):
            tell(f"recording {n + 1} of {len(recordings)}")
            divergence.gather(kinds, (recordings[n].reference.draws, one.draws), n, ids)
            played.append(one)
    return {
        "draws": {kind: divergence.summary(found) for kind, found in kinds.items()},
        **_sounds(played, recordings, bundle.out_rate),
    }


def _sounds(
    played: Sequence[forced.Played], recordings: Sequence[Recording], rate: int
) -> dict[str, Any]:
    """Log-mel distance from the reference's sound, scores, and words heard."""
    distances = [
        quality.log_mel_db(one.sound, recording.reference.sound, rate)
        for one, recording in zip(played, recordings, strict=True)
    ]
    found = np.array([d for d in distances if d is not None])
    error = float(found.std(ddof=1) / np.sqrt(len(found))) if len(found) > 1 else 0.0
    heard = [(one, r) for one, r in zip(played, recordings, strict=True) if r.reference.codes]
    heard = heard[:SOUNDS_OF]
    scores = [s for one, _ in heard if (s := quality.score(one.sound, rate)) is not None]
    return {
        "log_mel_db": {"mean": float(found.mean()), "error": error} if len(found) else None,
        "score": float(np.mean(scores)) if scores else None,
        "heard": _heard(heard, rate),
    }


def _heard(pairs: Sequence[tuple[forced.Played, Recording]], rate: int) -> dict[str, int] | None:
    """Of recordings with one reply, how many the recogniser hears right: {"n", "k"}."""
    if not speech.is_installed():
        return None
    texts = {
        r.name: normal(r.reference.text) for _, r in pairs if r.reference.text.count("\n") == 1
    }
    recogniser = speech.Recogniser(sorted(set(texts.values())))
    asked = [(one, texts[r.name]) for one, r in pairs if texts.get(r.name) in recogniser.known]
    if not asked:
        return None
    right = sum(recogniser.hear(_spoken(one.sound), rate) == text for one, text in asked)
    return {"n": len(asked), "k": right}


def _spoken(sound: Floats) -> Floats:
    """From the first sound that is heard to the last."""
    loud = np.flatnonzero(np.abs(sound) > take.SOUND_LEVEL)
    return sound[loud[0] : loud[-1] + 1] if loud.size else sound[:0]


def stages(
    reference: parley.Bundle, bundle: parley.Bundle, recordings: Sequence[Recording]
) -> dict[str, float | None]:
    """Signal-to-noise ratio of each stage in dB, on the reference's inputs to it."""
    found: dict[str, list[float]] = {stage: [] for stage in stage_loss.STAGES}
    outputs = [stage_loss.Outputs(one) for one in (reference, bundle)]
    for recording in [r for r in recordings if r.reference.codes][:STAGES_OF]:
        lost = stage_loss.losses(
            outputs[0], outputs[1], recording.samples, recording.reference.codes
        )
        for stage, db in lost.items():
            found[stage].append(db)
    return {stage: stage_loss.mean_db(values) for stage, values in found.items()}


def speed(
    reference: parley.Bundle, bundle: parley.Bundle, recording: Recording, seed: int
) -> dict[str, Any]:
    """Both in turn on one recording, saying the same: real-time factors, their ratio, steps.

    The ratio is of processor time, which neighbours on the machine disturb less.
    """
    spent: dict[int, list[float]] = {0: [], 1: []}
    steps: dict[int, list[float]] = {0: [], 1: []}
    joules: float | None = None
    audio_s = 0.0
    n = int(SPEED_S * bundle.rate)
    samples = recording.samples[:n]
    like = forced.play(reference, samples, seed=seed).draws
    for _ in range(ROUNDS):
        for i, opened in enumerate((reference, bundle)):
            before, begin = _joules(), time.process_time()
            played = forced.play(opened, samples, seed=seed, like=like)
            spent[i].append(time.process_time() - begin)
            steps[i] += played.step_ms
            audio_s = played.audio_s
            after = _joules()
            if i == 1 and before is not None and after is not None and after > before:
                joules = (after - before) / audio_s
    best = [min(spent[i]) for i in (0, 1)]
    return {
        "rtf": best[1] / audio_s,
        "reference_rtf": best[0] / audio_s,
        "ratio": best[1] / best[0],
        "step_ms": percentiles(steps[1]),
        "reference_step_ms": percentiles(steps[0]),
        "late": float(np.mean(np.array(steps[1]) > _period_ms(bundle))),
        "period_ms": _period_ms(bundle),
        "joules_per_s": joules,
    }


def _period_ms(bundle: parley.Bundle) -> float:
    return float(bundle.manifest["rates"]["chunk_ms"])


def _joules() -> float | None:
    """Of the first processor since it began to count; None where the machine does not tell."""
    try:
        return int(ENERGY.read_text()) / 1e6
    except (OSError, ValueError):
        return None


def memory_mb(bundle: Path, kv: str) -> float | None:
    """The most memory, 10^6 bytes, of a process that opens the bundle and hears a second.

    None where the system does not tell. (What getrusage tells begins with the parent's.)
    """
    code = (
        "import sys, numpy as np, parley\n"
        "with parley.open(sys.argv[1], threads=1, kv=sys.argv[2], verify=False) as b:\n"
        "    with b.session() as s:\n"
        "        for _ in s.feed(np.zeros(b.rate, np.float32)): pass\n"
        "for line in open('/proc/self/status'):\n"
        "    if line.startswith('VmHWM'): print(1024 * int(line.split()[1]))\n"
    )
    command = [sys.executable, "-c", code, str(bundle), kv]
    done = subprocess.run(command, capture_output=True, text=True)
    return int(done.stdout) / 1e6 if done.stdout.strip() else None
