"""Settings of the flow decoder that a sweep compares; knows no engine."""

from __future__ import annotations

from typing import Any

from parley_apps.flow_facts import flow_evaluations

Settings = dict[str, Any]
KEYS = (
    "mode",
    "solver",
    "spacing",
    "points",
    "guided_evaluations",
    "prompt_codes",
    "past_codes",
    "lookahead_codes",
)
STREAMING = ("window", "cached")
# What settings are measured against: on nano, 64 evaluations are 0.0003 of a latent's deviation
# from 256; its own 2 are 0.11.
REFERENCE = {"mode": "exact", "solver": "midpoint", "spacing": "linear", "prompt_codes": 0}
REFERENCE_POINTS = 33
PAST_CODES, LOOKAHEAD_CODES = (0, 4, 8, 16), (0, 4)
EULER_STEPS = (1, 2, 3, 5)
PROMPT_CODES = (6, 75)
MOST_PAST = 2  # times the bundle's own: beyond, weights see what they were not trained for


def own(flow: Settings) -> Settings:
    """The bundle's."""
    return {key: flow[key] for key in KEYS}


def reference(flow: Settings) -> Settings:
    """The whole utterance at once, solved finely, with guidance on every evaluation."""
    fine = own(flow) | REFERENCE | {"points": max(REFERENCE_POINTS, flow["points"])}
    return fine | {"guided_evaluations": flow_evaluations(fine) if flow["guidance"] else 0}


def solver(settings: Settings) -> Settings:
    """Of a setting what does not concern streaming; the part that mode exact looks at."""
    return {key: settings[key] for key in ("solver", "spacing", "points", "guided_evaluations")}


def longest_wait(flow: Settings) -> int:
    """Codes of the largest look-ahead among the variants."""
    return max(int(row["lookahead_codes"]) for row in variants(flow))


def variants(flow: Settings) -> list[Settings]:
    """The bundle's own settings first, then one thing after the other changed; each once."""
    base = own(flow) | {"mode": flow["mode"] if flow["mode"] in STREAMING else "window"}
    found = [base, *_contexts(base), *_solvers(base, flow["guidance"]), *_prompts(base)]
    return [row for i, row in enumerate(found) if row not in found[:i]]


def _contexts(base: Settings) -> list[Settings]:
    past = [n for n in PAST_CODES if n <= MOST_PAST * max(base["past_codes"], PAST_CODES[1])]
    return [
        base | {"mode": mode, "past_codes": n, "lookahead_codes": ahead}
        for mode in STREAMING
        for n in past
        for ahead in LOOKAHEAD_CODES
    ]


def _solvers(base: Settings, guidance: float) -> list[Settings]:
    most = base["points"]
    rows = [base | {"solver": "midpoint", "points": n} for n in {2, 3, most // 2 + 1} if n > 1]
    rows += [
        base | {"solver": "euler", "spacing": spacing, "points": n + 1}
        for spacing in ("linear", "cosine")
        for n in EULER_STEPS
    ]
    rows = [row | {"guided_evaluations": flow_evaluations(row) if guidance else 0} for row in rows]
    if guidance:
        n = flow_evaluations(base)
        rows += [base | {"guided_evaluations": k} for k in (0, n // 4, n // 2)]
    return rows


def _prompts(base: Settings) -> list[Settings]:
    return [base | {"mode": mode, "prompt_codes": n} for mode in STREAMING for n in PROMPT_CODES]


def name(settings: Settings) -> str:
    """A row's settings in a few words."""
    prompt = settings["prompt_codes"] or "all"
    seen = f"prompt {prompt} past {settings['past_codes']} +{settings['lookahead_codes']}"
    return f"{settings['mode']} {seen}, {solver_name(settings)}"


def solver_name(settings: Settings) -> str:
    """Solver, spacing, evaluations, and on how many of them guidance runs."""
    return (
        f"{settings['solver']} {settings['spacing'][:3]} "
        f"{flow_evaluations(settings)}/{settings['guided_evaluations']}"
    )
