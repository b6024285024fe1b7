"""The arithmetic that a step requires, however it is implemented."""

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
"""What the numbers of this module count."""


@dataclass(frozen=True)
class StepArithmetic:
    """Floating point operations that one iteration of DANCE needs.

    Attributes:
        real: forward of the real images.
        matching: forward and pixel gradients of the synthetic images, for the alignment.
        calibration: forward and pixel gradients of the calibration; 0 without it.
    """

    real: int
    matching: int
    calibration: int

    @property
    def exact(self) -> int:
        """Operations of a step with real images."""
        return self.real + self.synthetic

    @property
    def synthetic(self) -> int:
        """Operations of a step with real features from a bank."""
        return self.matching + self.calibration


def forward_operations(network: Network, channels: int, resolution: int) -> tuple[int, int]:
    """Operations for the embedding of one image, and for its logits.

    Args:
        network: skeleton.
        channels: of the image.
        resolution: height and width of the image in pixels.
    """
    image = torch.empty(1, channels, resolution, resolution, device="meta")
    counts = []
    for output in ("embedding", "logits"):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(image, output)
        counts.append(int(counter.get_total_flops()))
    return counts[0], counts[1]


def step_arithmetic(task: CondensationTask, options: DANCEConfig) -> StepArithmetic:
    """The operations of one iteration."""
    train = task.train
    embedding, logits = forward_operations(task.network, train.channels, train.resolution)
    real = sum(ClassSampler(train, options.real_batch, task.seed).sizes())
    per_class = min(task.decoder.images(task.ipc), options.synthetic_cap)
    synthetic = train.num_classes * per_class
    # The gradient of a layer's input takes as many operations as its output.
    return StepArithmetic(
        real=real * embedding,
        matching=2 * synthetic * embedding,
        calibration=2 * synthetic * logits if options.calibration else 0,
    )
