"""Evaluation: frozen protocols and the one way to apply them; not for what condenses."""

from dance.evaluation.evaluator import Score, score_set, score_states
from dance.evaluation.protocol import PROTOCOLS, EvaluationConfig, Protocol

__all__ = ["PROTOCOLS", "EvaluationConfig", "Protocol", "Score", "score_set", "score_states"]
