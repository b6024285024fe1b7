"""Score: what networks trained on a set reached, kept beside it and inside its file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from dance.core.errors import ArtifactError, ConfigError
from dance.core.files import read_json

_CONFIG = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
_OPTIONAL = ("asked", "seconds", "peak_memory_bytes", "device")
"""Fields that are left out of plain data where there is nothing to tell."""
_LONGEST = 60
"""Characters of a wrong value that a message shows."""


@dataclass(frozen=True, kw_only=True, config=_CONFIG)
class Statistic:
    """One accuracy over the trained networks; fractions from 0 to 1.

    Attributes:
        values: one of each network, in the order of the seeds.
        mean: of the values.
        std: standard deviation of the sample (n-1); 0 for one network.
        ci95: the 95 % confidence interval of the mean; None for one network.
    """

    values: tuple[float, ...]
    mean: float
    std: float
    ci95: tuple[float, float] | None

    def __post_init__(self) -> None:
        """Check that there is a value."""
        if not self.values:
            raise ValueError("a statistic must hold the value of at least one network")


@dataclass(frozen=True, kw_only=True, config=_CONFIG)
class BestStatistic(Statistic):
    """The accuracy at the epoch that was best on the test images: optimistic.

    Attributes:
        epochs: that were best, one of each network.
    """

    epochs: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, config=_CONFIG)
class Curve:
    """Test accuracy while the networks train.

    Attributes:
        epochs: after which they were tested, counted from 1.
        accuracy: (R, number of tests), fractions.
    """

    epochs: tuple[int, ...]
    accuracy: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, kw_only=True, config=_CONFIG)
class Asked:
    """What a score was asked for, by which it is recognised when the command is repeated.

    Attributes:
        protocol: name.
        repeats: networks (None: the protocol's number).
        epochs: of each (None: the protocol's number).
        seed: of the networks.
        labels: digest of the settings of soft labels; None for hard ones.
    """

    protocol: str
    repeats: int | None
    epochs: int | None
    seed: int
    labels: str | None = None


@dataclass(frozen=True, kw_only=True, config=_CONFIG)
class Score:
    """What R networks of one architecture, trained on one set by one protocol, reached.

    Attributes:
        subject: ``condensed``, ``initial``, ``random`` or ``whole``: what they were trained on.
        label: name of the row in tables.
        labels: that they learned.
        protocol: name; with the epochs where these are not the protocol's.
        statistic: what ``last`` is, in words.
        network: architecture.
        parameters: numbers in one network.
        epochs: of training.
        seeds: of the networks.
        last: after the last epoch.
        best: at the best of the tested epochs.
        per_class: (K,) accuracy of each class after the last epoch, fractions over all networks.
        confusion: (K, K) test images over all networks; rows are the true classes.
        curve: test accuracy by epoch.
        test_images: number.
        train_images: number of decoded images.
        storage_bytes: of the pixels and soft labels as the set stores them.
        dataset: whose test images these are.
        data_fingerprint: of that data set.
        notes: what a reader must know.
        asked: what was asked for; None where networks were only tested.
        seconds: that training and tests took; None inside a set.
        peak_memory_bytes: of the process or GPU; None inside a set or where not known.
        device: where it was done; None inside a set.
    """

    subject: str
    label: str
    labels: Literal["hard", "soft"]
    protocol: str
    statistic: str
    network: str
    parameters: int
    epochs: int
    seeds: tuple[int, ...]
    last: Statistic
    best: BestStatistic
    per_class: tuple[float, ...]
    confusion: tuple[tuple[int, ...], ...]
    curve: Curve
    test_images: int
    train_images: int
    storage_bytes: int
    dataset: str
    data_fingerprint: str
    notes: tuple[str, ...] = ()
    asked: Asked | None = None
    seconds: float | None = None
    peak_memory_bytes: int | None = None
    device: str | None = None

    def __post_init__(self) -> None:
        """Check that there is as much of everything as there are networks, classes and tests."""
        networks, classes = len(self.seeds), len(self.per_class)
        for name, values in (
            ("last.values", self.last.values),
            ("best.values", self.best.values),
            ("best.epochs", self.best.epochs),
            ("curve.accuracy", self.curve.accuracy),
        ):
            if len(values) != networks:
                raise ValueError(f"{name} must have {networks} entries, one a network")
        if any(len(line) != len(self.curve.epochs) for line in self.curve.accuracy):
            raise ValueError("an accuracy curve and its epochs must have the same length")
        if any(len(row) != classes for row in (self.confusion, *self.confusion)):
            raise ValueError(f"the confusion matrix must be {classes} x {classes}")

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.per_class)

    @property
    def repeats(self) -> int:
        """R, the number of networks."""
        return len(self.seeds)

    @property
    def setting(self) -> str:
        """What rows must share beside the network to be compared: the protocol and the labels."""
        return self.protocol if self.labels == "hard" else f"{self.protocol}, {self.labels} labels"

    def lasting(self) -> Score:
        """What is kept inside a set: all but measurements, which differ between equal runs."""
        return replace(self, seconds=None, peak_memory_bytes=None, device=None)

    def to_plain(self) -> dict[str, Any]:
        """JSON data that :meth:`from_plain` takes."""
        plain: dict[str, Any] = _READER.dump_python(self, mode="json")
        return {
            name: value
            for name, value in plain.items()
            if value is not None or name not in _OPTIONAL
        }

    @staticmethod
    def from_plain(plain: object) -> Score:
        """Read strictly: nothing is converted, missing or unknown.

        Raises:
            ConfigError: it is no score; the message names the first thing that is wrong.
        """
        try:
            return _READER.validate_json(json.dumps(plain))
        except ValidationError as error:
            raise ConfigError(_first(error)) from error
        except (TypeError, ValueError) as error:
            raise ConfigError(f"a score must be plain JSON data: {error}") from error


_READER = TypeAdapter(Score)


def scores_from_plain(plain: object) -> list[Score]:
    """Read a list of scores.

    Raises:
        ConfigError: it is none.
    """
    if not isinstance(plain, list):
        raise ConfigError(f"scores must be a list: got {_shown(plain)}")
    return [Score.from_plain(entry) for entry in plain]


def read_scores(path: Path) -> list[Score]:
    """Read a ``scores.json``.

    Raises:
        ArtifactError: it cannot be read, or holds something else.
    """
    plain = read_json(path)
    try:
        return scores_from_plain(plain)
    except ConfigError as error:
        raise ArtifactError(f"{path} is damaged: {error}; evaluate again") from error


def _first(error: ValidationError) -> str:
    found = error.errors(include_url=False)[0]
    place = ".".join(map(str, found["loc"]))
    what = str(found.get("ctx", {}).get("error", found["msg"]))
    return f"a score is wrong{' at ' if place else ''}{place}: {what}; got {_shown(found['input'])}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
