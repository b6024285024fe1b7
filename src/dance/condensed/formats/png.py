"""Images as PNG bytes."""

from __future__ import annotations

import io
from collections.abc import Iterator

from PIL import Image
from torch import Tensor

from dance.core.progress import track


def encode(images: Tensor) -> Iterator[bytes]:
    """Encode images as PNG files, one after the other.

    Args:
        images: (n, C, S, S) uint8, C 1 (grey) or 3 (RGB).
    """
    with track("writing images", len(images), "images") as task:
        for image in images.permute(0, 2, 3, 1).numpy():
            buffer = io.BytesIO()
            Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image).save(buffer, "PNG")
            yield buffer.getvalue()
            task.advance()
