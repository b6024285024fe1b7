"""From a configuration to a finished run; knows no method by name."""

from dance.engine.banking import bank
from dance.engine.config import RunConfig
from dance.engine.cost import estimate
from dance.engine.loop import run
from dance.engine.scoring import evaluate
from dance.engine.stage import experts

__all__ = ["RunConfig", "bank", "estimate", "evaluate", "experts", "run"]
