"""Everything about a configuration that can be known to be wrong before work begins."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from dance.augment.operation import parse
from dance.condensed.decoders import of_factor
from dance.core.config import flat, to_plain
from dance.core.errors import ConfigError
from dance.core.memory import in_bytes
from dance.data.known import KNOWN
from dance.engine.config import RunConfig
from dance.evaluation.protocol import PROTOCOLS
from dance.methods import METHODS
from dance.networks import NETWORKS

Rule = tuple[str, Callable[[Any], bool]]

_ONE: Rule = ("at least 1", lambda x: x >= 1)
_ZERO: Rule = ("at least 0", lambda x: x >= 0)
_POSITIVE: Rule = ("above 0", lambda x: x > 0)
_SHARE: Rule = ("from 0 to 1", lambda x: 0 <= x <= 1)
_BELOW_ONE: Rule = ("at least 0 and below 1", lambda x: 0 <= x < 1)

_RULES: dict[str, Rule] = {
    **dict.fromkeys(("ipc", "factor", "chunk", "depth", "width", "batch_size", "epochs"), _ONE),
    **dict.fromkeys(
        ("bank_draws", "repeats", "starts", "iterations", "synthetic_cap", "calibration_interval"),
        _ONE,
    ),
    **dict.fromkeys(
        ("queue", "push_interval", "fetch", "model_steps", "model_batch", "meter_interval"), _ONE
    ),
    **dict.fromkeys(("network_interval", "power", "frequencies", "expert_epochs"), _ONE),
    **dict.fromkeys(("window", "outer_cap", "inner_cap", "monitor_batch", "network_batch"), _ONE),
    **dict.fromkeys(
        ("shallow_weight", "last_weight", "embedding_weight", "discrimination_weight"), _ZERO
    ),
    **dict.fromkeys(("patience", "ahead", "amplitude", "phase", "calibration_weight"), _ZERO),
    **dict.fromkeys(("seed", "count", "expert", "real_batch", "weight_decay"), _ZERO),
    **dict.fromkeys(("balance", "ce_weight", "model_weight_decay"), _ZERO),
    **dict.fromkeys(("learning_rate", "model_learning_rate", "gamma"), _POSITIVE),
    **dict.fromkeys(("network_learning_rate", "sampler_learning_rate"), _POSITIVE),
    **dict.fromkeys(("momentum", "model_momentum", "sampler_momentum"), _BELOW_ONE),
    "cutmix": _SHARE,
}
"""What a setting of this name must be, in whatever section it stands."""
_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")


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
    method = METHODS.get(config.method)(config.options)
    for place, value in flat(to_plain(config)).items():
        name = place.rsplit(".", 1)[-1]
        if value is None:
            continue
        if name in _RULES:
            must, holds = _RULES[name]
            if not holds(value):
                raise ConfigError(f"{place} must be {must}: got {value}")
        if name == "memory_limit":
            in_bytes(value)
        if name == "augmentation":
            parse(value)
    for name in (config.network.name, *config.networks):
        NETWORKS.get(name)
    if not config.networks:
        raise ConfigError("networks must name at least one network to score with: got none")
    PROTOCOLS.get(config.evaluation.protocol)
    if not _DEVICE.fullmatch(config.device):
        raise ConfigError(
            f"device must be auto, cpu, cuda or cuda:N: got {config.device!r}; use auto"
        )
    if method.needs_experts() and config.experts.count < 1:
        raise ConfigError(
            f"experts.count must be at least 1 for {config.method} with these options: got "
            f"{config.experts.count}"
        )
    expert = getattr(config.options, "expert", 0)
    if method.needs_experts() and expert >= config.experts.count:
        raise ConfigError(
            f"options.expert must be below experts.count, {config.experts.count}: got {expert}; "
            "raise --experts.count"
        )
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
            f"got {kept.epochs}; raise it, or lower options.start_epochs"
        )
    resolution = config.source.size
    if resolution is None and config.data in KNOWN:
        resolution = KNOWN.get(config.data).size
    if resolution is not None:
        of_factor(config.factor).check(resolution)
