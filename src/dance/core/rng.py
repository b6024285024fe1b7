"""Randomness as a pure function of (seed, purpose, steps).

There is no state to store, and global generators are never used. Every draw is made on the CPU
for *all* classes or members and then sliced, so a result does not depend on chunking, on the
device, or on where a run was interrupted.
"""

from __future__ import annotations

import hashlib

import torch


def key(seed: int, purpose: str, *steps: int) -> int:
    """A 63-bit key that is the same on every machine for the same arguments.

    >>> key(0, "order", 3) == key(0, "order", 3) != key(0, "order", 4)
    True
    """
    text = "/".join([str(seed), purpose, *map(str, steps)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def keyed_generator(seed: int, purpose: str, *steps: int) -> torch.Generator:
    """A fresh CPU generator for one purpose at one step.

    Args:
        seed: the run's seed.
        purpose: what is drawn, such as ``"augment"``; distinct purposes are independent.
        steps: iteration, class or member numbers.
    """
    return torch.Generator().manual_seed(key(seed, purpose, *steps))
