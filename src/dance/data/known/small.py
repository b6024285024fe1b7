"""Data sets of at most 64 pixels."""

from __future__ import annotations

from dance.data.known import Channels, Known, register
from dance.data.known.imagenet import CONSTANTS as IMAGENET

_CIFAR: tuple[Channels, Channels] = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
_DIGITS = tuple("0123456789")
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

register(
    Known(
        name="digits", train=(1797, 1797), test=0, classes=_DIGITS, size=8, constants=None,
        location="embedded:digits", license="cc-by-4.0", mirrored=False,
    ),
    Known(
        name="mnist", train=(60000, 60000), test=10000, classes=_DIGITS, size=28,
        constants=((0.1307,), (0.3081,)), location="hf:ylecun/mnist", mirrored=False,
        published=("MNIST",),
    ),
    Known(
        name="fashion_mnist", train=(60000, 60000), test=10000, size=28,
        constants=((0.2861,), (0.3530,)), location="hf:zalando-datasets/fashion_mnist",
        published=("FashionMNIST",), license="mit",
        classes=(
            "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker",
            "Bag", "Ankle boot",
        ),
    ),
    Known(
        name="svhn", train=(73257, 73257), test=26032, classes=_DIGITS, size=32,
        constants=((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
        location="hf:ufldl-stanford/svhn:cropped_digits", mirrored=False,
        published=("train_32x32.mat",),
    ),
    Known(
        name="cifar10", train=(50000, 50000), test=10000, size=32, constants=_CIFAR,
        location="hf:uoft-cs/cifar10", resnet_layout="cifar",
        published=("cifar-10-batches-py",),
        classes=(
            "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship",
            "truck",
        ),
    ),
    Known(
        name="cifar100", train=(50000, 50000), test=10000, count=100, size=32, constants=_CIFAR,
        own_constants=((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762)),
        location="hf:uoft-cs/cifar100", resnet_layout="cifar",
        published=("cifar-100-python",),
        classes=tuple(_CIFAR100.split()),
    ),
    Known(
        name="tiny_imagenet", train=(100000, 100000), test=10000, count=200, size=64,
        constants=IMAGENET, location="hf:zh-plus/tiny-imagenet", published=("tiny-imagenet-200",),
    ),
)  # fmt: skip
