"""What a manifest says of its flow decoder, as plain numbers; opens no model."""

from __future__ import annotations

import math
from typing import Any


def flow_evaluations(flow: dict[str, Any]) -> int:
    """Evaluations of the field from noise to latents, by settings as the manifest names them."""
    return int((flow["points"] - 1) * (2 if flow["solver"] == "midpoint" else 1))


def flow_facts(manifest: dict[str, Any]) -> dict[str, Any]:
    """How the flow decoder streams, and what a voice takes before its first session can begin."""
    flow = manifest["flow"]
    evaluations = flow_evaluations(flow)
    guided = min(flow["guided_evaluations"], evaluations) if flow["guidance"] else 0
    n_codes = manifest["voices"][manifest["default_voice"]]["tokens"]["shape"][0]
    frames = flow["frames_per_code"] * min(flow["prompt_codes"] or n_codes, n_codes)
    inputs = manifest["graphs"]["flow_field"]["inputs"]
    keys = [t for t in inputs if t["name"].startswith("past_keys.")]
    row = math.prod(keys[0]["shape"][1::2]) * (2 if keys[0]["type"] == "f16" else 4) if keys else 0
    carried = [t for t in inputs if t["name"] == "carried"]
    # Of every branch: keys and values, and in float32 the rows that the convolution carries. The
    # engine tells the same of an opened bundle; a test holds both equal.
    branch = 2 * len(keys) * frames * row + 4 * sum(math.prod(t["shape"][1:]) for t in carried)
    cached = flow["mode"] == "cached"
    return {
        "mode": flow["mode"],
        "evaluations": evaluations,
        "guided": guided,
        "prompt_frames": frames,
        "voice_bytes": branch * (evaluations + guided) if cached else 0,
        "setup_evaluations": evaluations if cached else 0,
    }
