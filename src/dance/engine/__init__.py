"""From a configuration to a finished run, for every method."""

from dance.engine.banking import bank
from dance.engine.config import RunConfig, build_run, check_options
from dance.engine.context import experts
from dance.engine.cost import estimate
from dance.engine.loop import run
from dance.engine.stored import SCORING, evaluate, evaluate_again, scoring_run

__all__ = [
    "SCORING",
    "RunConfig",
    "bank",
    "build_run",
    "check_options",
    "estimate",
    "evaluate",
    "evaluate_again",
    "experts",
    "run",
    "scoring_run",
]
