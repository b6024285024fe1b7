"""The library in three functions: condense, evaluate, load."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dance import engine
from dance.condensed import CondensedSet, load_set
from dance.data import DataConfig
from dance.evaluation import EvaluationConfig, Score
from dance.recipes.resolve import resolve


def condense(
    data: str,
    *,
    method: str | None = None,
    ipc: int | None = None,
    config: str | None = None,
    output: Path | str | None = None,
    resume: bool = False,
    snapshots: str | Sequence[int | str] = (),
    **settings: Any,
) -> CondensedSet:
    """Condense a data set and score the result: ``dance condense`` from Python.

    Args:
        data: name of a known set or path.
        method: none: DANCE.
        ipc: images per class that are stored.
        config: ``quick``, name of a recipe, or YAML file; none: the paper's settings for these
            images.
        output: run directory (none: ``runs/<data>-<method>-ipc<n>-<hash>``); a run that is there
            is gone on with.
        resume: refuse to begin a run that is not there.
        snapshots: steps after which the set is stored as it then is, under ``snapshots/`` of the
            run: numbers, and ``every:N`` for each multiple of N. They do not change the result.
        settings: any other part of the configuration, nested as in YAML, such as
            ``options={"iterations": 500}``.

    Returns:
        The condensed set with its scores.

    Raises:
        DanceError: something that the caller can mend.
    """
    resolved = resolve(data, method, ipc, config, settings)
    place = None if output is None else Path(output)
    directory = engine.run(resolved, place, resume=resume, snapshots=snapshots)
    return load_set(directory / "condensed.safetensors")


def evaluate(
    target: Path | str,
    *,
    networks: Sequence[str] = ("convnet",),
    protocol: str = EvaluationConfig.protocol,
    repeats: int | None = None,
    epochs: int | None = None,
    data: str | None = None,
    seed: int = 0,
    device: str = "auto",
    labels: str = "hard",
) -> list[Score]:
    """Score a stored set: ``dance evaluate`` from Python.

    Args:
        target: run directory or condensed set; the scores are kept in it.
        networks: names of architectures.
        protocol: name of the protocol.
        repeats: networks of each architecture (none: the protocol's number).
        epochs: of training (none: the protocol's number).
        data: name or path of the data (none: the one that the set is of).
        seed: of the networks.
        device: where to train them.
        labels: ``hard``, or ``soft``: what the set's experts call its images, stored with it.

    Raises:
        DanceError: something that the caller can mend.
    """
    config = EvaluationConfig(protocol=protocol, repeats=repeats, epochs=epochs)
    place = Path(target)
    return engine.evaluate(
        place,
        config,
        networks,
        source=DataConfig(),
        seed=seed,
        device=device,
        data=data,
        labels=labels,
    )
