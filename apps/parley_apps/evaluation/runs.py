"""Plays scenarios to a bundle and gathers rows and summary; knows no file format and no picture."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from parley import summarize_turns
from parley_apps.evaluation import duplex_bench, judge, speech, summary, take
from parley_apps.evaluation.scenarios import Rendering, Scenario

if TYPE_CHECKING:
    import parley
    from parley.session_options import Mode

Tell = Callable[[str], None]


def evaluate(
    bundle: parley.Bundle,
    scenarios: Sequence[Scenario],
    *,
    seed: int = 0,
    workers: int = 2,
    by: str = "split",
    mode: Mode = "duplex",
    timers: Mapping[str, int] | None = None,
    sample_speech: int = 0,
    renderings: Sequence[Rendering] = (),
    tell: Tell = lambda text: None,
) -> dict[str, Any]:
    """Runs every scenario as a conversation of its own, without a teacher.

    seed: of the model's chance and of the sample. workers: conversations at the same time. mode,
    timers: "duplex", or "managed" for a bundle of whole turns. by: the tag by which kinds are
    split. sample_speech: replies for the recogniser, 0 for none; renderings are what it compares
    with. Returns plain data: "summary" (`summary.summarize`), "full_duplex_bench"
    (`duplex_bench.measure`), "turns" (`parley.summarize_turns`), "speech" (None without a sample),
    "scenarios" (a list: name, kind, seconds, false starts, rows), "real_time_factor". Raises
    InputError for a bundle without the mode, ImportError where the recogniser is missing.
    """
    if sample_speech:
        speech.check_installed()
    listened = _sample(scenarios, sample_speech, seed)
    asked = {"mode": mode, "seed": seed, "timers": timers}
    takes = _Runs(bundle, asked, listened).run(scenarios, workers, tell)
    known = judge.known_replies(scenarios)
    rows = [judge.judge(s, t, known) for s, t in zip(scenarios, takes, strict=True)]
    starts = [judge.false_starts(s, t) for s, t in zip(scenarios, takes, strict=True)]
    heard = None
    if sample_speech:
        replies = [r for some in rows for r in some if r.reply and r.reply.audio][:sample_speech]
        heard = speech.listen(replies, renderings, bundle.out_rate, list(known), tell)
    audio_s = sum(t.audio_s for t in takes)
    return {
        "summary": summary.summarize(scenarios, takes, rows, starts, by=by),
        "turns": summarize_turns(turn for t in takes for turn in t.turns),
        "full_duplex_bench": duplex_bench.measure(scenarios, takes),
        "speech": heard,
        "audio_seconds": audio_s,
        "real_time_factor": sum(t.cost_ms for t in takes) / 1000.0 / audio_s if audio_s else 0.0,
        "scenarios": [
            _held(s, t, f) | {"rows": [_plain(row) for row in some]}
            for s, t, some, f in zip(scenarios, takes, rows, starts, strict=True)
        ],
    }


def _held(scenario: Scenario, held: take.Take, starts: judge.FalseStarts) -> dict[str, Any]:
    return {
        "name": scenario.name,
        "kind": scenario.kind,
        "seconds": held.steps * held.chunk_s,
        "false_starts": starts.count,
        "unasked_seconds": starts.seconds,
    }


def choose(scenarios: Sequence[Scenario], limit: int, seed: int) -> list[Scenario]:
    """At most `limit` scenarios of each kind and split, by chance, in their order."""
    rng = np.random.default_rng(seed)
    groups: dict[tuple[str, str], list[int]] = {}
    for n, scenario in enumerate(scenarios):
        key = (scenario.kind, str(scenario.tags.get("split")))
        groups.setdefault(key, []).append(n)
    kept: list[int] = []
    for group in groups.values():
        kept += rng.permutation(group)[:limit].tolist()
    return [scenarios[n] for n in sorted(kept)]


def _sample(scenarios: Sequence[Scenario], n: int, seed: int) -> set[str]:
    """Names of scenarios whose replies are kept: a few more than asked, as some go unanswered."""
    fit = [s.name for s in scenarios if s.kind in ("turn", "pause") and s.asks[0].reply is not None]
    return set(np.random.default_rng(seed).permutation(fit)[: n + n // 4].tolist())


def _plain(row: judge.Row) -> dict[str, Any]:
    row.reply = None  # its sound stays out of the result
    plain = asdict(row)
    for name in ("reply", "scenario", "kind"):
        del plain[name]
    return plain


class _Runs:
    """Takes of many scenarios in worker threads; the engine releases Python's lock in a step."""

    def __init__(self, bundle: parley.Bundle, asked: dict[str, Any], listened: set[str]) -> None:
        self._bundle, self._asked, self._listened = bundle, asked, listened
        self._lock = threading.Lock()
        self._sessions: set[parley.Session] = set()
        self._stopped = False

    def run(self, scenarios: Sequence[Scenario], workers: int, tell: Tell) -> list[take.Take]:
        takes: dict[int, take.Take] = {}
        # The longest first, so that no worker is left alone with one at the end.
        order = sorted(range(len(scenarios)), key=lambda n: -scenarios[n].audio.stat().st_size)
        with ThreadPoolExecutor(workers) as pool:
            try:
                futures = {pool.submit(self._play, scenarios[n]): n for n in order}
                for future in as_completed(futures):
                    takes[futures[future]] = future.result()
                    seconds = sum(t.audio_s for t in takes.values())
                    tell(f"{len(takes)} of {len(scenarios)} scenarios, {seconds:.0f} s of audio")
            except BaseException:
                self._stop()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [takes[n] for n in range(len(scenarios))]

    def _play(self, scenario: Scenario) -> take.Take:
        import parley

        samples, rate = parley.read_audio(scenario.audio)
        with self._lock:
            samples = self._bundle.resample(samples, rate)
        with self._bundle.session(observe=True, **self._asked) as session:
            with self._lock:
                if self._stopped:
                    raise parley.CancelledError("[evaluation.run] expected to finish, got an end")
                self._sessions.add(session)
            try:
                return take.play(session, samples, scenario.name in self._listened)
            finally:
                with self._lock:
                    self._sessions.discard(session)

    def _stop(self) -> None:
        with self._lock:
            self._stopped = True
            for session in self._sessions:
                session.cancel()
