"""The data sets that have a name: what is known of each, in one place.

A file of this package registers sets, and so does a module of another distribution under the
entry-point group ``dance.data.known``. Constants are the field's (DANCE, IDC and DC code);
CIFAR-100 is standardised with CIFAR-10's, as the codes of DANCE, MTT, CAFE, DC and DSA do; DM's,
DataDAM's and IDM's take its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from dance.core.registry import Registry

Channels = tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Known:
    """A published data set.

    Attributes:
        name: what users call it.
        train: fewest and most train images of a complete copy.
        test: test images of a complete copy; 0: there is no test split, ``train`` counts all.
        count: K.
        classes: names, index = label; empty: as the copy names them (copies of TinyImageNet differ
            in that).
        constants: mean and std per channel, of pixels in [0, 1]; None: computed.
        own_constants: mean and std of the set itself, where the field's codes differ; None: there
            is one pair only.
        size: default resolution in pixels.
        location: download location, used if no folder contains the set.
        wordnet: ids of the classes, index = label; the folders of a copy may have these names.
        imagenet: their positions among ImageNet-1K's classes; empty: not a subset of it.
        mirrored: whether a mirror image shows the same class, as it does not for digits.
    """

    name: str
    train: tuple[int, int]
    test: int
    count: int = 10
    classes: tuple[str, ...] = ()
    constants: tuple[Channels, Channels] | None
    own_constants: tuple[Channels, Channels] | None = None
    size: int
    location: str
    wordnet: tuple[str, ...] = ()
    imagenet: tuple[int, ...] = ()
    mirrored: bool = True

    def match(self, classes: Sequence[str]) -> tuple[int, ...] | None:
        """Labels of a copy in the published order.

        Args:
            classes: the copy's class names: the published ones in any spelling of case and
                punctuation, WordNet ids, plain numbers, or all of ImageNet-1K's.

        Returns:
            For each published class the label that it has in the copy; None if the copy has other
            classes.
        """
        unnamed = tuple(classes) == tuple(map(str, range(self.count)))
        if len(classes) == self.count and (unnamed or not self.classes):
            return tuple(range(self.count))
        own = {_plain(name): label for label, name in reversed(list(enumerate(classes)))}
        found = [
            next((own[_plain(name)] for name in aliases if _plain(name) in own), None)
            for aliases in zip(*filter(None, (self.wordnet, self.classes)), strict=True)
        ]
        labels = tuple(label for label in found if label is not None)
        if len(set(labels)) == self.count and (self.imagenet or len(classes) == self.count):
            return labels
        return self.imagenet if self.imagenet and len(classes) == 1000 else None

    def difference(self, train: int, test: int) -> str:
        """What to say about a copy with so many images; empty if it is complete."""
        fewest, most = self.train
        if fewest <= train <= most and test == self.test:
            return ""
        expected = f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}"
        return (
            f"this copy of {self.name} differs from the published set: {train:,} train and "
            f"{test:,} test images instead of {expected} and {self.test:,}; scores cannot be held "
            "against published ones"
        )


def _plain(name: str) -> str:
    """First synonym, letters and digits only."""
    return re.sub("[^a-z0-9]", "", name.split(",")[0].lower())


KNOWN: Registry[Known] = Registry("data set", "dance.data.known")


def register(*sets: Known) -> None:
    """File data sets under their names.

    Raises:
        ConfigError: a name is taken.
    """
    for known in sets:
        KNOWN.register(known.name)(known)


def is_mirrored(data: str) -> bool:
    """Whether mirroring keeps the classes of a data set: of a known one as it says, else assumed.

    >>> is_mirrored("cifar10"), is_mirrored("digits"), is_mirrored("photos")
    (True, False, True)
    """
    return KNOWN.get(data).mirrored if data in KNOWN else True
