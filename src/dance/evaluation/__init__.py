"""Evaluation: frozen protocols and the one way to apply them; not for what condenses."""

from dance.evaluation.evaluator import score_set, score_states
from dance.evaluation.protocol import PROTOCOLS, EvaluationConfig, Protocol

__all__ = ["PROTOCOLS", "EvaluationConfig", "Protocol", "score_set", "score_states"]
