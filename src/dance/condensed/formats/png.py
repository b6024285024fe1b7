"""Images as PNG bytes."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from dance.core.progress import track
from dance.data.picture import as_png, to_pillow


def encode(images: Tensor) -> Iterator[bytes]:
    """Encode images as PNG files, one after the other.

    Args:
        images: (n, C, S, S) uint8, C 1 (grey) or 3 (RGB).
    """
    with track("writing images", len(images), "images") as task:
        for image in images:
            yield as_png(to_pillow(image))
            task.advance()
