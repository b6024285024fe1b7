"""What an expert makes of real images: the features by which coresets choose."""

from __future__ import annotations

import copy

import torch

from dance.data.imageset import ImageSet
from dance.networks import Network, State

_BATCH_SIZE = {"cpu": 64, "cuda": 1024}
"""Images that go through one forward: what fits the cache, or fills the GPU."""


def features(
    network: Network,
    state: State,
    train: ImageSet,
    rows: torch.Tensor,
    device: torch.device,
    *,
    bfloat16: bool = False,
) -> torch.Tensor:
    """Embeddings of some images as they are, without augmentation, in evaluation mode.

    The images are read and forwarded part by part: of them nothing but their features is ever
    whole, and the parts depend on ``rows`` alone.

    Args:
        network: skeleton.
        state: weights, on ``device``, which decide the dtype of the arithmetic.
        train: that holds the images.
        rows: (n,) int64 of the images in it.
        device: where the network computes.
        bfloat16: run the network's arithmetic in bfloat16.

    Returns:
        (n,D) float64 on ``device``: flattened, not normalised.
    """
    skeleton = copy.deepcopy(network).eval()
    dtype = next(tensor.dtype for tensor in state.values() if tensor.is_floating_point())
    found = torch.empty(len(rows), network.embedding_size, dtype=torch.float64, device=device)
    rows = rows.to(train.images.device)
    batch_size = _BATCH_SIZE.get(device.type, _BATCH_SIZE["cpu"])
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
        for start in range(0, len(rows), batch_size):
            part = slice(start, start + batch_size)
            images = train.images[rows[part]].to(device)
            images = train.normalization.apply_bytes(images, dtype)
            images = images.contiguous(memory_format=torch.channels_last)
            found[part] = skeleton.embed(state, images).double()
    return found
