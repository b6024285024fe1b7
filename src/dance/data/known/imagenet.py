"""Subsets of ImageNet-1K at 128 pixels.

The label of a class is its position in the list. Where DANCE's list and MTT's differ, the plain
name is DANCE's and ``<name>_mtt`` is MTT's.
"""

from __future__ import annotations

from dance.data.known import Channels, Known, register

CONSTANTS: tuple[Channels, Channels] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation per channel of ImageNet-1K, also used for TinyImageNet."""


def _subset(name: str, train: tuple[int, int], listing: str) -> Known:
    """Ten classes of ImageNet-1K, from lines ``WordNet id, position, name``."""
    rows = [line.split(maxsplit=2) for line in listing.strip().splitlines()]
    return Known(
        name=name, train=train, test=500, size=128, constants=CONSTANTS,
        location="hf:ILSVRC/imagenet-1k",
        wordnet=tuple(row[0] for row in rows), imagenet=tuple(int(row[1]) for row in rows),
        classes=tuple(row[2] for row in rows),
    )  # fmt: skip


_TEN_OF_IMAGENET = (7320, 13000)
"""ImageNet-1K has 732 to 1,300 train images per class."""

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

register(
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
