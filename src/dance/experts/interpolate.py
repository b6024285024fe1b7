"""Networks between an expert's first and last weights (Zhang et al. 2024, Eq. 3)."""

from __future__ import annotations

from dance.networks import State


def interpolate(initial: State, final: State, share: float) -> State:
    """The mid model  share * initial + (1 - share) * final.

    Args:
        initial: weights and buffers before training.
        final: weights and buffers after training.
        share: lambda in [0,1]; 1 is the untrained network.

    Returns:
        A new state; integer buffers are the final ones.
    """
    return {
        name: last.lerp(initial[name], share) if last.is_floating_point() else last
        for name, last in final.items()
    }
