"""Checks of a configuration, before work begins, that concern several of its sections."""

from __future__ import annotations

from dance.condensed.decoders import of_factor
from dance.core.errors import ConfigError
from dance.data.known import KNOWN
from dance.engine.config import RunConfig
from dance.methods import METHODS, Coreset


def _check_whitening(config: RunConfig) -> None:
    """Refuse settings that do not work with whitened images.

    Raises:
        ConfigError: there is one.
    """
    allowed = [name for name in METHODS.names() if METHODS.get(name).whitens]
    must = {
        f"method must be one of {', '.join(allowed)}": (config.method in allowed, config.method),
        "factor must be 1": (config.factor == 1, config.factor),
        "labels must be hard": (config.labels == "hard", config.labels),
        "evaluation.baselines must not name whole": (
            "whole" not in config.evaluation.baselines,
            ", ".join(config.evaluation.baselines),
        ),
    }
    for rule, (holds, got) in must.items():
        if not holds:
            raise ConfigError(
                f"{rule} with whitened images: got {got}; change it or use --whitening none"
            )


def check(config: RunConfig) -> None:
    """Refuse values that cannot work.

    Raises:
        ConfigError: what must hold, what was received, and what to do.
    """
    method = config.make_method()
    method.check_experts(config.experts.count)
    if "whole" in config.evaluation.baselines and config.experts.count < 1:
        raise ConfigError(
            "experts.count must be at least 1 with the baseline whole, which is the accuracy of "
            f"the experts: got {config.experts.count}; raise --experts.count, or leave whole out "
            "of --evaluation.baselines"
        )
    if config.init == "k_means" and not method.needs_experts():
        raise ConfigError(
            f"init k_means needs a method with experts, whose features it clusters: got "
            f"{config.method} without; use --init random"
        )
    if config.factor > 1 and isinstance(method, Coreset):
        raise ConfigError(
            f"factor must be 1 for {config.method}, which stores real images and would have them "
            f"cut into cells: got {config.factor}"
        )
    if config.average_last and isinstance(method, Coreset):
        raise ConfigError(
            f"average_last must be 0 for {config.method}, which selects real images at once: got "
            f"{config.average_last}"
        )
    if config.whitening != "none":
        _check_whitening(config)
    epochs, trajectories = method.trajectory_epochs(), config.trajectories
    if epochs and trajectories.count < 1:
        raise ConfigError(
            f"trajectories.count must be at least 1 for {config.method}: got {trajectories.count}"
        )
    if epochs > trajectories.epochs:
        raise ConfigError(
            f"trajectories.epochs must be at least {epochs} for {config.method} with these "
            f"options: got {trajectories.epochs}; raise it, or lower "
            f"options.{method.trajectory_option}"
        )
    resolution = config.source.size
    if resolution is None and config.data in KNOWN:
        resolution = KNOWN.get(config.data).size
    if resolution is not None:
        of_factor(config.factor).check(resolution)
