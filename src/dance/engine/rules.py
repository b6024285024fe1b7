"""Everything about a configuration that can be known to be wrong before work begins."""

from __future__ import annotations

from dance.condensed.decoders import of_factor
from dance.core.errors import ConfigError
from dance.data.known import KNOWN
from dance.engine.config import RunConfig
from dance.methods import METHODS


def _check_whitening(config: RunConfig) -> None:
    """Refuse what does not work with whitened images.

    Raises:
        ConfigError: it must be changed, or whitening be none.
    """
    able = [name for name in METHODS.names() if METHODS.get(name).whitens]
    must = {
        f"method must be one of {', '.join(able)}": (config.method in able, config.method),
        "factor must be 1": (config.factor == 1, config.factor),
        "labels must be hard": (config.labels == "hard", config.labels),
        "evaluation.baselines must not name whole": (
            "whole" not in config.evaluation.baselines,
            ", ".join(config.evaluation.baselines),
        ),
    }
    for words, (holds, got) in must.items():
        if not holds:
            raise ConfigError(
                f"{words} with whitened images: got {got}; change it or use --whitening none"
            )


def check(config: RunConfig) -> None:
    """Refuse values that cannot work.

    Raises:
        ConfigError: what must hold, what was received, and what to do.
    """
    method = config.make_method()
    method.check_experts(config.experts.count)
    if config.whitening != "none":
        _check_whitening(config)
    asked, kept = method.trajectory_epochs(), config.trajectories
    if asked and kept.count < 1:
        raise ConfigError(
            f"trajectories.count must be at least 1 for {config.method}: got {kept.count}"
        )
    if asked > kept.epochs:
        raise ConfigError(
            f"trajectories.epochs must be at least {asked} for {config.method} with these options: "
            f"got {kept.epochs}; raise it, or lower options.{method.trajectory_option}"
        )
    resolution = config.source.size
    if resolution is None and config.data in KNOWN:
        resolution = KNOWN.get(config.data).size
    if resolution is not None:
        of_factor(config.factor).check(resolution)
