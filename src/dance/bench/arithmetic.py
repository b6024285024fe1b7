"""What a step has to compute, whoever computes it: the direct convolutions' multiplications."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from dance.data.sampler import ClassSampler
from dance.methods import CondensationTask
from dance.methods.dance import DANCEConfig
from dance.networks import Network

COUNTED = (
    "two operations for every multiplication of a direct convolution or a linear layer, no others; "
    "forward of real and synthetic images and gradients of pixels, none of weights"
)
"""What the numbers of this module mean, for whoever reads them."""


@dataclass(frozen=True)
class StepArithmetic:
    """Floating point operations that one iteration of DANCE needs.

    Attributes:
        real: forward of the real images.
        matching: forward and pixel gradients of the synthetic images.
        calibration: the same for the calibration; 0 without it.
    """

    real: int
    matching: int
    calibration: int

    @property
    def exact(self) -> int:
        """With real images in every step."""
        return self.real + self.synthetic

    @property
    def synthetic(self) -> int:
        """With the real side taken from a bank."""
        return self.matching + self.calibration


def forward_operations(network: Network, channels: int, resolution: int) -> tuple[int, int]:
    """Operations of one image's embedding, and of its logits.

    Args:
        network: skeleton.
        channels: of the images.
        resolution: in pixels.
    """
    image = torch.empty(1, channels, resolution, resolution, device="meta")
    counts = []
    for output in ("embedding", "logits"):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(image, output)
        counts.append(int(counter.get_total_flops()))
    return counts[0], counts[1]


def step_arithmetic(task: CondensationTask, options: DANCEConfig) -> StepArithmetic:
    """The operations of one iteration with both views."""
    train = task.train
    embedding, logits = forward_operations(task.network, train.channels, train.resolution)
    real = sum(ClassSampler(train, options.real_batch, task.seed).sizes())
    kept = min(task.decoder.images(task.ipc), options.synthetic_cap)
    synthetic = train.num_classes * kept
    # The gradient of a layer's input takes as many operations as its output.
    return StepArithmetic(
        real=real * embedding,
        matching=2 * synthetic * embedding,
        calibration=2 * synthetic * logits if options.calibration else 0,
    )
