"""The data sets that have a name: what was published about them, and where the hub has them.

Constants are the field's (DANCE, IDC and DC code); CIFAR-100 is standardised with CIFAR-10's, as
DANCE and MTT do. The label of an ImageNet subset is the position in its list. Where DANCE's list
and MTT's differ, the plain name is DANCE's and ``<name>_mtt`` is MTT's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

Channels = tuple[float, ...]

_IMAGENET: tuple[Channels, Channels] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CIFAR: tuple[Channels, Channels] = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
_DIGITS = tuple("0123456789")


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
        size: side in pixels unless another is asked for.
        location: where it is had from when no folder holds it.
        wordnet: ids of the classes, index = label; a copy's folders may be called so.
        imagenet: their positions among ImageNet-1K's classes; empty: not a subset of it.
    """

    name: str
    train: tuple[int, int]
    test: int
    count: int = 10
    classes: tuple[str, ...] = ()
    constants: tuple[Channels, Channels] | None
    size: int
    location: str
    wordnet: tuple[str, ...] = ()
    imagenet: tuple[int, ...] = ()

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


def _subset(name: str, train: tuple[int, int], listing: str) -> Known:
    """Ten classes of ImageNet-1K, from lines ``WordNet id, position, name``."""
    rows = [line.split(maxsplit=2) for line in listing.strip().splitlines()]
    return Known(
        name=name, train=train, test=500, size=128, constants=_IMAGENET,
        location="hf:ILSVRC/imagenet-1k",
        wordnet=tuple(row[0] for row in rows), imagenet=tuple(int(row[1]) for row in rows),
        classes=tuple(row[2] for row in rows),
    )  # fmt: skip


_TEN_OF_IMAGENET = (7320, 13000)
"""ImageNet-1K has 732 to 1,300 train images a class."""

_FRUIT = """
n07753275 953 pineapple
n07753592 954 banana
n07745940 949 strawberry
n07747607 950 orange
n07749582 951 lemon
n07768694 957 pomegranate
n07753113 952 fig
n07720875 945 bell pepper
n07718472 943 cucumber
"""
_YELLOW = """
n02206856 309 bee
n12057211 986 yellow lady's slipper
n07753592 954 banana
n07749582 951 lemon
n12144580 987 corn
n04146614 779 school bus
n03530642 599 honeycomb
n02129165 291 lion
{spider}
n01531178 11 goldfinch
"""

_CIFAR100 = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup
dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower
leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid
otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray
road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
wardrobe whale willow_tree wolf woman worm
"""

_TABLE = (
    Known(
        name="digits", train=(1797, 1797), test=0, classes=_DIGITS, size=8, constants=None,
        location="embedded:digits",
    ),
    Known(
        name="mnist", train=(60000, 60000), test=10000, classes=_DIGITS, size=28,
        constants=((0.1307,), (0.3081,)), location="hf:ylecun/mnist",
    ),
    Known(
        name="fashion_mnist", train=(60000, 60000), test=10000, size=28,
        constants=((0.2861,), (0.3530,)), location="hf:zalando-datasets/fashion_mnist",
        classes=(
            "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker",
            "Bag", "Ankle boot",
        ),
    ),
    Known(
        name="svhn", train=(73257, 73257), test=26032, classes=_DIGITS, size=32,
        constants=((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
        location="hf:ufldl-stanford/svhn:cropped_digits",
    ),
    Known(
        name="cifar10", train=(50000, 50000), test=10000, size=32, constants=_CIFAR,
        location="hf:uoft-cs/cifar10",
        classes=(
            "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship",
            "truck",
        ),
    ),
    Known(
        name="cifar100", train=(50000, 50000), test=10000, count=100, size=32, constants=_CIFAR,
        location="hf:uoft-cs/cifar100",
        classes=tuple(_CIFAR100.split()),
    ),
    Known(
        name="tiny_imagenet", train=(100000, 100000), test=10000, count=200, size=64,
        constants=_IMAGENET, location="hf:zh-plus/tiny-imagenet",
    ),
    _subset("imagenette", (12894, 12894), """
n01440764 0 tench
n02102040 217 English springer
n02979186 482 cassette player
n03000684 491 chain saw
n03028079 497 church
n03394916 566 French horn
n03417042 569 garbage truck
n03425413 571 gas pump
n03445777 574 golf ball
n03888257 701 parachute
"""),
    _subset("imagewoof", (12454, 12454), """
n02096294 193 Australian terrier
n02093754 182 Border terrier
n02111889 258 Samoyed
n02088364 162 beagle
n02086240 155 Shih-Tzu
n02089973 167 English foxhound
n02087394 159 Rhodesian ridgeback
n02115641 273 dingo
n02099601 207 golden retriever
n02105641 229 Old English sheepdog
"""),
    _subset("imagemeow", _TEN_OF_IMAGENET, """
n02123045 281 tabby
n02123159 282 tiger cat
n02123394 283 Persian cat
n02123597 284 Siamese cat
n02124075 285 Egyptian cat
n02129165 291 lion
n02129604 292 tiger
n02128925 290 jaguar
n02128757 289 snow leopard
n02127052 287 lynx
"""),
    _subset("imagesquawk", _TEN_OF_IMAGENET, """
n01806143 84 peacock
n02007558 130 flamingo
n01818515 88 macaw
n02051845 144 pelican
n02056570 145 king penguin
n01614925 22 bald eagle
n01843383 96 toucan
n01518878 9 ostrich
n01860187 100 black swan
n01819313 89 sulphur-crested cockatoo
"""),
    _subset("imagefruit", _TEN_OF_IMAGENET, _FRUIT + "n07760859 956 custard apple"),
    _subset("imagefruit_mtt", _TEN_OF_IMAGENET, _FRUIT + "n07742313 948 Granny Smith"),
    _subset("imageyellow", _TEN_OF_IMAGENET, _YELLOW.format(spider="n01773797 74 garden spider")),
    _subset(
        "imageyellow_mtt", _TEN_OF_IMAGENET, _YELLOW.format(spider="n01773157 72 black and gold "
        "garden spider")
    ),
)  # fmt: skip

KNOWN = {known.name: known for known in _TABLE}
