"""What measurements see of a conversation: draws, what graphs read, what the backbone weighs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import parley
import tolerances
from synthetic_signal import synthetic_signal


def play(session: parley.Session, seconds: float = 3.2) -> np.ndarray:
    samples = synthetic_signal(int(seconds * session.rate), session.rate)
    return np.concatenate([step.samples for step in session.feed(samples)])


def test_a_hook_sees_each_draw_and_decides_it(tiny_bundle: Path) -> None:
    seen: list[tuple[np.ndarray, list[tuple[int, int]], int]] = []

    def see(logits: np.ndarray, allowed: list[tuple[int, int]], picked: int) -> int:
        seen.append((logits, allowed, picked))
        return picked

    with parley.open(tiny_bundle, threads=1) as bundle:
        control = bundle.manifest["duplex"]
        listen = [control["think"], control["shift"]]
        with bundle.session("duplex") as session:
            plain = play(session)
        with bundle.forced(see, "duplex") as session:
            assert np.array_equal(play(session), plain)
        logits, allowed, _ = seen[0]
        assert logits.shape == (bundle.manifest["backbone"]["vocab_size"],)
        assert [i for begin, end in allowed for i in range(begin, end)] == sorted(listen)
        # What the first conversation did not draw is drawn where the hook says so.
        forced = listen[seen[0][2] == listen[0]]
        with bundle.forced(lambda *draw: forced if draw[1] == allowed else draw[2], "duplex") as s:
            step = next(iter(s.feed(np.zeros(s.chunk_samples, np.float32))))
        kinds = [event.kind for event in step.events]
        assert ("shift" if forced == control["shift"] else "think") in kinds


@pytest.mark.parametrize("wrong", [-1, 10**6])
def test_a_hook_that_names_no_id_changes_nothing(tiny_bundle: Path, wrong: int) -> None:
    with parley.open(tiny_bundle, threads=1) as bundle:
        say = [wrong]
        hook = lambda logits, allowed, picked: say[0] if say else picked  # noqa: E731
        with bundle.forced(hook, "duplex") as session:
            before = session.position
            with pytest.raises(parley.InputError, match="expected on_draw to return an id below"):
                play(session)
            assert session.position == before
            say.clear()
            play(session)


def test_what_graphs_read(tiny_bundle: Path) -> None:
    runs: list[tuple[str, dict[str, Any]]] = []
    with (
        parley.open(tiny_bundle, threads=1, on_run=lambda *run: runs.append(run)) as bundle,
        bundle.session("duplex") as session,
    ):
        play(session, 0.64)
        graph = bundle.manifest["graphs"]["encoder_chunk"]
    heard = [inputs for name, inputs in runs if name == "encoder_chunk"]
    assert len(heard) == 4
    for inputs in heard:
        for tensor in graph["inputs"]:
            assert list(inputs[tensor["name"]].shape) == tensor["shape"]
        for state in graph["states"]:
            assert list(inputs[f"state_in.{state['name']}"].shape) == state["shape"]
    # The arrays are copies: states are written in place.
    assert not heard[0]["state_in.keys"].any() and heard[3]["state_in.keys"].any()


def test_importance_is_of_what_is_multiplied(tiny_bundle: Path) -> None:
    """A normalised row has a mean square of one, before the norm's own weights."""
    gguf = pytest.importorskip("gguf", reason="no gguf; pip install 'parley[export]'")
    with parley.open(tiny_bundle, threads=1, importance=True) as bundle:
        assert bundle.importance() == {}
        with bundle.session("duplex") as session:
            play(session)
        found = bundle.importance()
    tensors = {t.name: t.data for t in gguf.GGUFReader(tiny_bundle / "backbone.gguf").tensors}
    own = found["blk.0.attn_q.weight"] / np.square(tensors["blk.0.attn_norm.weight"])
    assert abs(own.mean() - 1.0) < tolerances.NORMED_SQUARE_REL
    assert np.array_equal(found["blk.0.attn_q.weight"], found["blk.0.attn_k.weight"])
    assert "output.weight" in found or "token_embd.weight" in found
    with parley.open(tiny_bundle, threads=1) as bundle:
        assert bundle.importance() == {}


def test_keys_and_values_in_bfloat16_are_near_those_in_full(tiny_bundle: Path) -> None:
    logits: dict[str, list[np.ndarray]] = {"f32": [], "bf16": []}
    for kv, seen in logits.items():
        with parley.open(tiny_bundle, threads=1, kv=kv) as bundle:  # type: ignore[arg-type]
            think = bundle.manifest["duplex"]["think"]

            def see(
                row: np.ndarray, *_: Any, seen: list[np.ndarray] = seen, id: int = think
            ) -> int:
                seen.append(row)
                return id

            with bundle.forced(see, "duplex") as session:
                play(session)
    exact, near = (np.stack(rows) for rows in logits.values())
    error = np.abs(near - exact).max() / np.abs(exact).max()
    assert 0.0 < error < tolerances.KV_BF16_REL
