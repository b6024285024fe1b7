"""IDC at its published settings, the numbers of DANCE's Table 1, and IDC-I, with factor 1.

Kim et al., Dataset Condensation via Efficient Synthetic-Data Parameterization (ICML 2022), and the
released settings. A command without a recipe scores by ``dance-v1``, as for every method; the
recipes score by ``idc-v1``, the protocol of the paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dance.engine import RunConfig
from dance.methods import METHODS
from dance.networks import NetworkConfig
from dance.recipes.base import (
    DIVISIBLE_RESOLUTION,
    LOW_RESOLUTION,
    QUICK,
    SETTINGS,
    always,
    factor_for,
)
from dance.recipes.rows import published_rows, without_experts

KNOWN_DATA: Mapping[str, Mapping[str, Any]] = {
    "svhn": {"network_images": 500},
    "mnist": {
        "distance": "l1", "learning_rate": 1e-5, "reference_resolution": 28, "network_images": 500,
    },
    "fashion_mnist": {"distance": "l1", "learning_rate": 1e-5, "network_images": 500},
}  # fmt: skip
"""Differences to the settings of CIFAR-10 and CIFAR-100, for IDC and DREAM."""
_MNIST: Mapping[str, Any] = {"augmentation": "color_crop", "cutmix": 0.0}
"""MNIST at factor 2, without operations that would cut off strokes."""
_LARGE: Mapping[str, Any] = {
    "iterations": 50_000,
    "distance": "l1",
    "learning_rate": 3e-4,
    "reference_resolution": 224,
    "network_images": 500,
    "cutmix": 1.0,
    "warmup_epochs": 10,
}
"""ImageNet-10 at 224 pixels."""
_LARGE_NETWORK = NetworkConfig(name="resnet_ap10")
_BOUND = 20
"""Images per class from which large images are decoded at several factors while condensing."""
_SMALLEST_RATE = 0.05
"""Learning rate for images that are not divided, which no paper uses; with the published one, their
distance does not decrease."""


def scaled_options(resolution: int) -> dict[str, Any]:
    """Settings for images that are not divided, for IDC and DREAM; empty for larger ones."""
    if resolution >= DIVISIBLE_RESOLUTION:
        return {}
    return {"learning_rate": _SMALLEST_RATE, "reference_resolution": resolution}


@SETTINGS.register("idc")
def idc_config(data: str, ipc: int, resolution: int) -> RunConfig:
    """IDC for images of ``resolution`` pixels: above 64 the settings of ImageNet-10, else of CIFAR.

    Args:
        data: name or path.
        ipc: images per class; the method scales the step on the stored images with it.
        resolution: H = W of the images in pixels.
    """
    factor, network = factor_for(resolution), NetworkConfig()
    changes = scaled_options(resolution) | dict(KNOWN_DATA.get(data, {}))
    if data == "mnist":
        changes |= _MNIST
    if resolution > LOW_RESOLUTION:
        changes, network = dict(_LARGE), _LARGE_NETWORK
        if ipc >= _BOUND:
            changes["decoding"] = "bound"
    options = METHODS.get("idc").Config(**changes)
    return without_experts(
        RunConfig(data=data, method="idc", ipc=ipc, factor=factor, network=network, options=options)
    )


def _images(data: str, ipc: int, resolution: int) -> RunConfig:
    return replace(idc_config(data, ipc, resolution), factor=1)


_PAPER = "IDC (Kim et al., ICML 2022)"
published_rows("idc", _PAPER, "dance_table_1", idc_config, protocol="idc-v1")
published_rows("idc_i", _PAPER, "idc", _images, protocol="idc-v1")
QUICK.register("idc")(always({"options": {"iterations": 25}}))
