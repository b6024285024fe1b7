"""The library in three functions: condense, evaluate, load."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dance import engine
from dance.condensed import CondensedSet, Score, load_set
from dance.data import DataConfig
from dance.evaluation import EvaluationConfig
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
        data: name of a known data set, or path.
        method: name of the method (None: DANCE).
        ipc: number of stored images per class.
        config: ``"quick"``, the name of a recipe, or the path of a YAML file (None: the paper's
            settings for these images).
        output: run directory (None: ``runs/<data>-<method>-ipc<n>-<hash>``). A run that was
            interrupted there is resumed.
        resume: only resume an existing run, and refuse to start a new one.
        snapshots: steps after which a copy of the set is stored under ``snapshots/`` in the run
            directory: numbers, and ``"every:N"`` for each multiple of N. Snapshots do not change
            the result.
        settings: any other part of the configuration, nested as in YAML, such as
            ``options={"iterations": 500}``.

    Returns:
        The condensed set with its scores.

    Raises:
        DanceError: the caller can remove the cause, such as a wrong setting or a missing data set;
            the message says how.
    """
    resolved = resolve(data, method, ipc, config, settings)
    path = None if output is None else Path(output)
    directory = engine.run(resolved, path, resume=resume, snapshots=snapshots)
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
        target: run directory, or file of a condensed set; the scores are stored there, too.
        networks: names of the architectures to train on the set.
        protocol: name of the evaluation protocol.
        repeats: number of networks of each architecture (None: that of the protocol).
        epochs: training epochs of each network (None: those of the protocol).
        data: name or path of the data set with the test images (None: the data set from which the
            set was condensed).
        seed: of the initial weights and of the training.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        labels: ``"hard"`` for the class labels, or ``"soft"`` for the class probabilities that
            experts predict for the decoded images; these are then stored in the set.

    Returns:
        One score for each architecture.

    Raises:
        DanceError: the caller can remove the cause; the message says how.
    """
    config = EvaluationConfig(protocol=protocol, repeats=repeats, epochs=epochs)
    return engine.evaluate(
        Path(target),
        config,
        networks,
        source=DataConfig(),
        seed=seed,
        device=device,
        data=data,
        labels=labels,
    )
