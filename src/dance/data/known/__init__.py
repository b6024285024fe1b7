"""The data sets that have a name, with all facts about each of them.

The files of this package register sets, as may modules of other distributions under the
entry-point group ``dance.data.known``. Constants are those of the field (code of DANCE, IDC and
DC). CIFAR-100 is standardised with the constants of CIFAR-10, as in the code of DANCE, MTT, CAFE,
DC and DSA; the code of DM, DataDAM and IDM uses those of CIFAR-100.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dance.core.registry import Registry

Channels = tuple[float, ...]


INCOMPARABLE = "scores cannot be compared with published ones"
"""Part of the notes on copies that differ from the published data set."""
_IMAGENET = 1000
"""Number of classes of ImageNet-1K."""
_NUMBER = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, kw_only=True)
class Known:
    """A published data set.

    Attributes:
        name: under which users request it.
        train: smallest and largest number of train images of a complete copy.
        test: number of test images of a complete copy; 0 if there is no test split, and ``train``
            is the number of all images.
        count: K.
        classes: names, index = label; empty: those of the copy (copies of TinyImageNet differ).
        constants: mean and std per channel, of pixels in [0, 1]; None: computed.
        own_constants: mean and std of the set itself, if some codes of the field use them instead
            of ``constants``; None if there is only one pair.
        size: default resolution in pixels.
        location: download location, used if no folder contains the set.
        license: identifier on the hub of the licence under which its publisher gives it away; empty
            if the publisher names none, or terms that have no identifier.
        wordnet: ids of the classes, index = label; the folders of a copy may have these names.
        imagenet: their positions among ImageNet-1K's classes; empty: not a subset of it.
        published: names that its own files or folders have below the data root, as torchvision
            leaves them.
        mirrored: whether a mirror image shows the same class, as it does not for digits.
        resnet_layout: widths and depths of a ResNet for it, as in IDC's code
            (:attr:`dance.networks.NetworkConfig.layout`).
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
    license: str = ""
    wordnet: tuple[str, ...] = ()
    imagenet: tuple[int, ...] = ()
    published: tuple[str, ...] = ()
    mirrored: bool = True
    resnet_layout: Literal["cifar", "imagenet"] = "imagenet"

    def match(self, classes: Sequence[str]) -> tuple[int, ...] | None:
        """Labels of a copy in the published order.

        Args:
            classes: the copy's class names: the published ones in any spelling of case and
                punctuation, WordNet ids, or plain numbers; for a subset of ImageNet-1K also those
                of all its classes.

        Returns:
            For each published class the label that it has in the copy; None if the copy has other
            classes.
        """
        numbered = _by_number(classes)
        if numbered and len(classes) == self.count:
            return tuple(numbered)
        if numbered and self.imagenet and len(classes) == _IMAGENET:
            return tuple(numbered[position] for position in self.imagenet)
        if len(classes) == self.count and not self.classes:
            return tuple(range(self.count))
        by_name = {_plain(name): label for label, name in reversed(list(enumerate(classes)))}
        found = [
            next((by_name[_plain(name)] for name in aliases if _plain(name) in by_name), None)
            for aliases in zip(*filter(None, (self.wordnet, self.classes)), strict=True)
        ]
        labels = tuple(label for label in found if label is not None)
        if len(set(labels)) == self.count and (self.imagenet or len(classes) == self.count):
            return labels
        return None

    def constants_for(self, statistics: str) -> tuple[Channels, Channels] | None:
        """Mean and std per channel, of pixels in [0, 1]; None: computed.

        Args:
            statistics: ``own`` for those of the set itself, if it has such a pair; otherwise they
                are those that most codes of the field use.
        """
        return (self.own_constants if statistics == "own" else None) or self.constants

    def difference(self, train: int, test: int) -> str:
        """A note about a copy with these numbers of images; empty if it is complete."""
        fewest, most = self.train
        if fewest <= train <= most and test == self.test:
            return ""
        expected = f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}"
        return (
            f"this copy of {self.name} differs from the published set: {train:,} train and "
            f"{test:,} test images instead of {expected} and {self.test:,}; {INCOMPARABLE}"
        )


def _by_number(classes: Sequence[str]) -> list[int]:
    """The label of each number, where the names are the plain numbers from 0 on; else none.

    >>> _by_number(["0", "1", "10", *"23456789"])[2], _by_number(["1", "2"])
    (3, [])
    """
    numbers = [int(name) for name in classes if _NUMBER.fullmatch(name)]
    if sorted(numbers) != list(range(len(classes))):
        return []
    return sorted(range(len(classes)), key=numbers.__getitem__)


def _plain(name: str) -> str:
    """The first synonym, reduced to lower-case letters and digits."""
    return re.sub("[^a-z0-9]", "", name.split(",")[0].lower())


KNOWN: Registry[Known] = Registry("data set", "dance.data.known")


def register(*sets: Known) -> None:
    """Register data sets under their names.

    Raises:
        ConfigError: a name is registered twice.
    """
    for known in sets:
        KNOWN.register(known.name)(known)


def is_mirrored(data: str) -> bool:
    """Whether mirroring preserves the classes of a data set; assumed for unknown sets.

    >>> is_mirrored("cifar10"), is_mirrored("digits"), is_mirrored("photos")
    (True, False, True)
    """
    known = KNOWN.find(data)
    return known is None or known.mirrored
