"""DM at its published settings, and the numbers of DANCE's tables.

Zhao & Bilen, Dataset Condensation with Distribution Matching (WACV 2023), and the released
commands. A bare command scores by ``dance-v1``, as for every method; the recipes by ``dsa-v1``,
which is DM's own.
"""

from __future__ import annotations

from dataclasses import replace

from dance.engine import RunConfig
from dance.evaluation.protocols.dc import DIGITS
from dance.methods import METHODS
from dance.recipes.base import SETTINGS
from dance.recipes.rows import UNFLIPPED, by_protocol, published_rows, without_experts

_MANY = 100
"""Images per class from which the learning rate on CIFAR-10 is ten times as large."""

_TABLE_1 = {
    "fashion_mnist": {1: (70.7, 0.6), 10: (83.5, 0.3), 50: (88.1, 0.6)},
    "cifar10": {1: (26.0, 0.8), 10: (48.9, 0.6), 50: (63.0, 0.4)},
    "cifar100": {1: (11.4, 0.3), 10: (29.7, 0.3), 50: (43.6, 0.4)},
    "tiny_imagenet": {1: (3.9, 0.2), 10: (12.9, 0.4), 50: (24.1, 0.3)},
}
_TABLE_2 = {
    "imagenette": {1: (32.8, 0.5), 10: (58.1, 0.3)},
    "imagewoof": {1: (21.1, 1.2), 10: (31.4, 0.5)},
    "imagesquawk": {1: (31.2, 0.7), 10: (50.4, 1.2)},
}


@SETTINGS.register("dm")
def dm_config(data: str, ipc: int, resolution: int) -> RunConfig:
    """DM for images of ``resolution`` pixels; nothing but the digits' augmentation depends on them.

    Args:
        data: name or path.
        ipc: images per class; from 100 on, CIFAR-10 takes larger steps.
        resolution: H = W of the images in pixels.
    """
    options = METHODS.get("dm").Config()
    if data in DIGITS:
        options = replace(options, augmentation=UNFLIPPED)
    if data == "cifar10" and ipc >= _MANY:
        options = replace(options, learning_rate=10.0)
    return without_experts(
        RunConfig(data=data, method="dm", ipc=ipc, init="random", options=options)
    )


def _published(data: str, ipc: int, resolution: int) -> RunConfig:
    return by_protocol(dm_config(data, ipc, resolution), "dsa-v1")


_PAPER = "DM (Zhao & Bilen, WACV 2023)"
published_rows(
    "dm",
    _PAPER,
    _TABLE_1,
    _published,
    "Table 1 of the DANCE paper, which takes them from DM (Fashion-MNIST: from later papers)",
)
published_rows(
    "dm",
    _PAPER,
    _TABLE_2,
    _published,
    "Table 2 of the DANCE paper, from later papers by others, whose protocol is not known",
)
