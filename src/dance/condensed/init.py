"""The initial pixels of a condensation."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import Tensor

from dance.condensed.decoders import Decoder
from dance.core import rng
from dance.core.errors import ConfigError, nearest
from dance.data.checks import check_ipc
from dance.data.imageset import ImageSet

InitRule = Literal["first", "random", "collage", "noise", "normal"]


def initial_pixels(
    train: ImageSet,
    ipc: int,
    decoder: Decoder,
    rule: InitRule,
    seed: int,
    classes: range | None = None,
) -> Tensor:
    """Initial stored images, made of real images or of noise.

    A stored image has l x l cells, counted row by row. Cell k of stored image j of a class receives
    the real image number k * ipc + j of the class (modulo its size if ipc * l^2 exceeds it), which
    is resized to the cell by nearest-neighbour interpolation (the "mix" initialisation of IDC and
    DANCE).

    The cells are exactly those of :meth:`Decoder.decode`. The authors' code distributes the
    remainder over the first rows and columns instead. This gives the same grid in every setting of
    the paper, but differs by one pixel from its own decoder for a factor of 3 and resolutions such
    as 28 and 64.

    Args:
        train: real images.
        ipc: stored images per class.
        decoder: of the stored images, with l x l cells.
        rule: ``first`` takes a class's images in dataset order (the authors' code), ``random``
            takes them in a random order (the paper), ``collage`` too, but shrinks them bilinearly
            without antialiasing (Zhao et al. 2023, IDM), ``noise`` takes uniform noise, ``normal``
            noise that is N(0,1) when it is standardised (Zhao et al. 2021).
        seed: of the random order and of the noise.
        classes: labels of the classes (None: all K).

    Returns:
        (K * ipc, C, S, S) float32 in unit space on the images' device, class by class.

    Raises:
        ConfigError: ipc exceeds the size of a class, the decoder does not fit, or the rule is
            unknown.
    """
    if ipc < 1:
        raise ConfigError(f"images per class must be at least 1: got {ipc}")
    decoder.check(train.resolution)
    labels = range(train.num_classes) if classes is None else classes
    if rule in ("noise", "normal"):
        return _noise(train, ipc, rule, seed, labels)
    if rule not in get_args(InitRule):
        raise ConfigError(f"unknown init rule {rule!r}{nearest(rule, get_args(InitRule))}")
    names = [train.classes[label] for label in labels]
    check_ipc(names, [len(train.rows(label)) for label in labels], ipc)
    cells = decoder.factor**2
    numbers = torch.arange(ipc * cells)
    chosen = [train.labels.new_empty(0, cells, ipc)]
    for label in labels:
        rows = train.rows(label)
        if rule in ("random", "collage"):
            order = torch.randperm(len(rows), generator=rng.keyed_generator(seed, "init", label))
            rows = rows[order.to(rows.device)]
        chosen.append(rows[numbers.to(rows.device) % len(rows)].view(1, cells, ipc))
    index = torch.cat(chosen).transpose(1, 2).reshape(-1, cells)
    shrink: Literal["nearest", "bilinear"] = "bilinear" if rule == "collage" else "nearest"
    return decoder.encode_initial(train.images, index, shrink)


def _noise(train: ImageSet, ipc: int, rule: InitRule, seed: int, labels: range) -> Tensor:
    shape = (ipc, train.channels, train.resolution, train.resolution)
    draw = torch.rand if rule == "noise" else torch.randn
    drawn = [draw(shape, generator=rng.keyed_generator(seed, "init", label)) for label in labels]
    noise = torch.cat([torch.empty(0, *shape[1:]), *drawn])
    if rule == "normal":
        noise = replace(train.normalization, whitening=None).invert(noise)
    return noise.to(train.images.device)
