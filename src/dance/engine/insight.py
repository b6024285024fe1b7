"""How an expert sees the finished set: its confidence, and the nearest training images.

It is for people to look at: nothing that a run computes depends on it.
"""

from __future__ import annotations

import math
import time

import torch
from torch.nn import functional

from dance.condensed import CondensedSet, load_set
from dance.condensed.insight import Insight
from dance.core.progress import log
from dance.data import ImageSet
from dance.engine.context import RunContext
from dance.engine.rundir import RunDirectory
from dance.experts.teacher import mean_probabilities
from dance.networks import State, to_device

_MOST_PIXELS = 5_000 * 32 * 32
"""Largest number of pixels of the training images that are forwarded, if that is 1000 images."""
_LEAST_REAL = 1_000
_NEIGHBOURS = 4
_MOST_SHOWN = 200
"""Largest number of images whose neighbours are stored, over all classes."""
_MOST_PER_CLASS = 10
_LARGEST = 64
"""Pixels on each side to which pictures of larger images are shrunk."""
_MOST_BYTES = 2_000_000
"""Largest size of all pictures."""
_BATCH = 256


def examine(context: RunContext, directory: RunDirectory) -> None:
    """Store the insight of a finished run whose method has experts, unless that was done.

    Only training images are used. Experts that are no longer in the cache are not trained again.
    """
    path, method = directory.insight, context.method
    if path.exists() or not method.needs_experts():
        return
    if context.portable is None and context.missing_experts():
        log(f"no {path.name}: the experts of this run are no longer in the cache")
        return
    started = time.monotonic()
    if context.world.size > 1:
        context = context.single_process()
    expert = context.pool().ensure(context.config.experts.count)[0]
    state = to_device(expert.final, context.device)
    condensed = load_set(directory.condensed).hard()
    images, labels = condensed.images().to(context.device), condensed.targets()
    found = mean_probabilities(images, context.network, [state], 1.0).cpu()
    searched = _searched(context.train)
    shown = _shown(condensed) if len(searched) else labels[:0]
    rows = _nearest(context, state, images[shown.to(images.device)], searched)
    Insight(
        expert=expert.index,
        real_images=len(searched),
        train_images=context.train_images,
        set_digest=condensed.digest(),
        confidence=found.gather(1, labels[:, None]).flatten(),
        predicted=found.argmax(1),
        shown=shown,
        rows=rows,
        labels=context.train.labels.cpu()[rows],
        pictures=_pictures(context.train, rows),
    ).save(path)
    directory.add_costs(insight_seconds=time.monotonic() - started)


def _searched(train: ImageSet) -> torch.Tensor:
    """Rows of the training images that are compared, evenly spaced in each class, (n,) int64."""
    most = max(_LEAST_REAL, _MOST_PIXELS // train.resolution**2)
    each = math.ceil(most / train.num_classes)
    return torch.cat([_spaced(train.rows(k).cpu(), each) for k in range(train.num_classes)])


def _spaced(rows: torch.Tensor, most: int) -> torch.Tensor:
    """At most ``most`` elements of (n,), evenly spaced."""
    return rows[torch.arange(most) * len(rows) // most] if len(rows) > most else rows


def _shown(condensed: CondensedSet) -> torch.Tensor:
    """Rows of the decoded images whose neighbours are stored, (s,) int64, ascending."""
    size = min(condensed.resolution, _LARGEST)
    most = min(_MOST_SHOWN, _MOST_BYTES // (_NEIGHBOURS * condensed.channels * size**2))
    classes = _spaced(torch.arange(condensed.num_classes), most)
    each = min(_MOST_PER_CLASS, most // len(classes))
    labels = condensed.targets()
    return torch.cat([_spaced((labels == k).nonzero().flatten(), each) for k in classes])


def _nearest(
    context: RunContext, state: State, images: torch.Tensor, searched: torch.Tensor
) -> torch.Tensor:
    """Rows of the training images whose features are nearest to those of some images.

    Args:
        context: of the run.
        state: weights of the expert, on the device.
        images: (s,C,S,S) float32 network input.
        searched: (n,) int64 rows of the training images that are compared.

    Returns:
        (s,k) int64 on the CPU, by Euclidean distance, the nearest first.
    """
    train, network = context.train, context.network
    count = min(_NEIGHBOURS, len(searched))
    best = torch.full((len(images), count), torch.inf, device=images.device)
    found = torch.zeros(len(images), count, dtype=torch.int64, device=images.device)
    with torch.no_grad():
        mine = torch.cat([network.embed(state, part) for part in images.split(_BATCH)])
        for rows in searched.split(_BATCH):
            real = train.images[rows.to(train.images.device)].to(images.device)
            theirs = network.embed(state, train.normalization.apply_bytes(real))
            distances = torch.cat([best, torch.cdist(mine, theirs)], 1)
            places = torch.cat([found, rows.to(found.device).expand(len(images), -1)], 1)
            best, order = distances.topk(count, largest=False)
            found = places.gather(1, order)
    return found.cpu()


def _pictures(train: ImageSet, rows: torch.Tensor) -> torch.Tensor:
    """The training images of rows (s,k) as (s,k,C,P,P) uint8 on the CPU, shrunk if large."""
    images = train.images[rows.flatten().to(train.images.device)].cpu()
    if train.resolution > _LARGEST:
        small = functional.interpolate(images.float(), size=_LARGEST, mode="area")
        images = small.round().to(torch.uint8)
    return images.view(*rows.shape, *images.shape[1:])
