"""ZCA whitening, which decorrelates the pixels of images.

With mu and S the mean and covariance of the flattened training images (D = C*S*S), and
S = U diag(s) U^T,

    x' = (x - mu) W,    W = U diag((s + 0.1)^(-1/2)) U^T.

MTT's released code fits this on pixels in [0,1] (``zca``). There 0.1 is larger than most of s, so
only the leading directions become white; the others grow by a factor of about 3.16. DataDAM's code
fits it on standardised pixels (``zca_standardised``), with a covariance about 16 times as large:
771 of CIFAR-10's 3,072 directions have s above 0.1, instead of 129. Standardising, x -> (x-m)/d by
channel, and then whitening is the same map of pixels in [0,1] with diag(1/d) W in place of W, and
this matrix is stored. A matrix takes D*D*4 bytes: 38 MB for colour images of 32 pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from dance.core.errors import ArtifactError, ConfigError
from dance.core.files import cache_dir, read_tensors, write_tensors
from dance.core.progress import log

EPSILON = 0.1
"""Added to the eigenvalues."""
_LARGEST = 4096
"""Largest number of values in an image: the time of the eigenvectors grows with its third power."""
_CHUNK_SIZE = 2000
"""Number of images that are averaged in one operation."""
_KIND = "whitening"
ZCA, ZCA_STANDARDISED = "zca", "zca_standardised"
"""Names of the two ways to fit, in options and files."""


@dataclass(frozen=True, eq=False)
class Whitening:
    """A fitted transform.

    Attributes:
        mean: mu (D,) float32, of pixels in [0,1].
        matrix: W (D,D) float32; symmetric if it was fitted on pixels in [0,1].
        name: ``zca``, or ``zca_standardised`` if it was fitted on standardised pixels.
    """

    mean: torch.Tensor
    matrix: torch.Tensor
    name: str = ZCA

    def apply(self, images: torch.Tensor) -> torch.Tensor:
        """Whiten images (n,C,S,S), float in [0,1], on the transform's device."""
        flat = images.flatten(1)
        white: torch.Tensor = (flat - self.mean.to(flat.dtype)) @ self.matrix.to(flat.dtype)
        return white.view(images.shape)

    def invert(self, images: torch.Tensor) -> torch.Tensor:
        """Images (n,C,S,S) before whitening; they may lie outside [0,1]."""
        flat: torch.Tensor = torch.linalg.solve(self.matrix.T, images.flatten(1).T).T + self.mean
        return flat.reshape(images.shape)

    def to(self, device: torch.device | str) -> Whitening:
        """The same on another device."""
        return Whitening(self.mean.to(device), self.matrix.to(device), self.name)

    def pack(self) -> torch.Tensor:
        """(1+D,D) float32: mu, then W."""
        return torch.cat([self.mean[None], self.matrix])

    @staticmethod
    def unpack(packed: torch.Tensor, name: str = ZCA) -> Whitening:
        """Make a whitening from the result of :meth:`pack`, (1+D,D), and its name.

        Raises:
            ConfigError: it has another shape or dtype.
        """
        if packed.ndim != 2 or len(packed) != packed.shape[1] + 1 or packed.dtype != torch.float32:
            raise ConfigError(
                f"whitening must be (1+D, D) float32: got {tuple(packed.shape)} {packed.dtype}"
            )
        return Whitening(packed[0], packed[1:], name)


def fit(images: torch.Tensor, std: Sequence[float] | None = None) -> Whitening:
    """Fit mean and whitening matrix to images.

    Args:
        images: (n,C,S,S) uint8, n at least 2.
        std: d by channel, to fit on standardised pixels (None: on pixels in [0,1]).

    Returns:
        The whitening, on the device of the images.

    Raises:
        ConfigError: the images are too large.
    """
    size = images[0].numel()
    if size > _LARGEST:
        raise ConfigError(
            f"whitening needs images of at most {_LARGEST} values (colour images of 36 pixels): "
            f"got {size}; use --whitening none, or a smaller --size"
        )
    device, count = images.device, len(images)
    mean = torch.zeros(size, dtype=torch.float64, device=device)
    for part in images.split(_CHUNK_SIZE):
        mean += part.flatten(1).double().sum(0) / 255
    mean /= count
    covariance = torch.zeros(size, size, dtype=torch.float64, device=device)
    for part in images.split(_CHUNK_SIZE):
        # float32 is precise enough once the mean is subtracted.
        centred = (part.flatten(1).double() / 255 - mean).float()
        covariance += centred.T @ centred
    covariance /= count - 1
    if std is None:
        return Whitening(mean.float(), _matrix(covariance).float())
    pixels = size // len(std)
    shrink = 1 / torch.tensor(std, dtype=torch.float64, device=device).repeat_interleave(pixels)
    matrix = _matrix(shrink[:, None] * covariance * shrink)
    return Whitening(mean.float(), (shrink[:, None] * matrix).float(), ZCA_STANDARDISED)


def _matrix(covariance: torch.Tensor) -> torch.Tensor:
    """W of a covariance S, both (D,D) float64."""
    values, vectors = torch.linalg.eigh(covariance)
    scale = (values.clamp(min=0) + EPSILON).rsqrt()
    matrix: torch.Tensor = (vectors * scale) @ vectors.T
    return matrix


def fit_cached(
    images: torch.Tensor, fingerprint: str, std: Sequence[float] | None = None
) -> Whitening:
    """The whitening of a training set, fitted once and stored in the cache.

    Args:
        images: (n,C,S,S) uint8.
        fingerprint: of the set.
        std: d by channel, as for :func:`fit`.

    Raises:
        ConfigError: the images are too large.
    """
    shape, name = list(images.shape), ZCA if std is None else ZCA_STANDARDISED
    stem = f"{fingerprint[:16]}-{'x'.join(map(str, shape))}-{name}"
    path = cache_dir() / "whitening" / f"{stem}.safetensors"
    about = {"fingerprint": fingerprint, "images": shape, "epsilon": EPSILON, "std": std and [*std]}
    if path.exists():
        try:
            tensors, header = read_tensors(path, _KIND)
            if header == about:
                return Whitening.unpack(tensors["whitening"], name).to(images.device)
        except (ArtifactError, KeyError) as error:
            log(f"{error}; fitting it again")
    log(f"whitening: fitting {shape[0]:,} images of {images[0].numel():,} values")
    found = fit(images, std)
    write_tensors(path, {"whitening": found.pack()}, about, _KIND)
    return found
