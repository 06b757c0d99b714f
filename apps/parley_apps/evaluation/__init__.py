"""Evaluation of conversations: scenarios, how they ran, what that is worth; over public names only.

>>> from parley_apps.evaluation import evaluate, load_scenarios
>>> scenarios = load_scenarios("scenarios")  # doctest: +SKIP
>>> for path in ("nano.f16", "nano.q8_0"):  # doctest: +SKIP
...     with parley.open(path, threads=1) as bundle:
...         print(evaluate(bundle, scenarios)["summary"]["groups"])
"""

from parley_apps.evaluation.runs import evaluate
from parley_apps.evaluation.scenarios import Scenario, load_scenarios

# Word after `parley eval` -> its module and what it measures, as parley_apps.benchmark has them.
PARTS = {
    "duplex": (
        "parley_apps.evaluation.duplex",
        "turn-taking, pauses, backchannels, interruptions, noise, long conversations",
    ),
    "quantization": (
        "parley_apps.evaluation.quantization",
        "a checkpoint in several precisions, side by side",
    ),
}

__all__ = ["Scenario", "evaluate", "load_scenarios"]
