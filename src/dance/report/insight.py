"""What an expert says about the images of a run, as its page shows it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from dance.core import format
from dance.data.picture import to_bytes
from dance.report.pictures import data_uri, encoded, sheet
from dance.report.record import Run
from dance.report.tables import Bar

_MOST_CHARACTERS = 500_000
"""Largest size of all pictures."""
_PLANS = ((6, None), (6, 75), (3, 75), (2, 75), (1, 75), (1, 50))
"""How they are made smaller: images of each class, and quality of WebP (None: PNG)."""
_MOST_BARS = 25


@dataclass(frozen=True)
class Card:
    """One decoded image.

    Attributes:
        picture: as a data URI.
        neighbours: the nearest training images in one picture; empty if there are none.
        count: their number.
        confidence: probability of its label, as text.
        predicted: name of the class that the expert assigns, if that is another one; else empty.
        names: classes of the neighbours, and their rows in the training set.
        alien: number of neighbours of another class.
    """

    picture: str
    neighbours: str
    count: int
    confidence: str
    predicted: str
    names: str
    alien: int


@dataclass(frozen=True)
class View:
    """The view of an expert."""

    summary: str
    bars: tuple[Bar, ...]
    selection: str
    classes: tuple[tuple[str, tuple[Card, ...]], ...]
    searched: str


def view(run: Run) -> View | None:
    """The insight of a run; None if it has none, or one of another set."""
    found, condensed = run.insight, run.condensed
    if found is None or found.set_digest != condensed.hard().digest():
        return None
    labels = condensed.targets()
    right = found.predicted == labels
    names = condensed.classes
    bars = [
        Bar(
            name,
            float(found.confidence[labels == k].mean()),
            float(right[labels == k].float().mean()),
        )
        for k, name in enumerate(names)
    ]
    selection = ""
    if len(bars) > _MOST_BARS:
        bars = sorted(bars, key=lambda bar: bar.accuracy)[:_MOST_BARS]
        selection = f"The {_MOST_BARS} lowest of {len(names)} classes."
    summary = (
        f"Expert {found.expert} assigns {format.count(int(right.sum()))} of "
        f"{format.plural(len(labels), 'decoded image')} to their class; the mean probability that "
        f"it gives their labels is {format.percent(float(found.confidence.mean()))}."
    )
    searched = (
        f"all {format.plural(found.real_images, 'training image')}"
        if found.real_images == found.train_images
        else f"{format.count(found.real_images)} of "
        f"{format.plural(found.train_images, 'training image')}, evenly spaced in each class"
    )
    return View(summary, tuple(bars), selection, _cards(run), searched if found.real_images else "")


def _cards(run: Run) -> tuple[tuple[str, tuple[Card, ...]], ...]:
    """Cards of the images whose neighbours are stored, as many as fit the page, by class."""
    found, condensed = run.insight, run.condensed
    assert found is not None
    labels = condensed.targets()
    by_class: dict[int, list[int]] = {}
    for place, row in enumerate(found.shown.tolist()):
        by_class.setdefault(int(labels[row]), []).append(place)
    decoded = {label: to_bytes(condensed.decode([label])[0]) for label in by_class}
    for each, quality in _PLANS:
        classes = []
        for label, places in by_class.items():
            images, first = decoded[label], int((labels == label).nonzero()[0])
            cards = [_card(run, place, images, first, quality) for place in places[:each]]
            classes.append((condensed.classes[label], tuple(cards)))
        size = sum(len(card.picture + card.neighbours) for _, cards in classes for card in cards)
        if size <= _MOST_CHARACTERS:
            break
    return tuple(classes)


def _card(run: Run, place: int, images: Tensor, first: int, quality: int | None) -> Card:
    """The card of the shown image at ``place``; ``images`` are of its class, from row ``first``."""
    found, names = run.insight, run.condensed.classes
    assert found is not None
    row = int(found.shown[place])
    label, predicted = int(run.condensed.targets()[row]), int(found.predicted[row])
    near = found.labels[place].tolist()
    rows = found.rows[place].tolist()
    return Card(
        picture=data_uri(images[row - first], quality),
        neighbours=encoded(sheet(list(found.pictures[place]), len(near)), quality) if near else "",
        count=len(near),
        confidence=format.percent(float(found.confidence[row])),
        predicted="" if predicted == label else names[predicted],
        names=", ".join(f"{names[k]} (image {n})" for k, n in zip(near, rows, strict=True)),
        alien=sum(k != label for k in near),
    )
