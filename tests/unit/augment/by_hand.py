"""Every operation on one image, (C,S,S) float64, pixel by pixel."""

from __future__ import annotations

import math

import numpy as np

Image = np.ndarray


def flip(x: Image) -> Image:
    out = np.zeros_like(x)
    resolution = x.shape[-1]
    for column in range(resolution):
        out[:, :, column] = x[:, :, resolution - 1 - column]
    return out


def brightness(x: Image, amount: float) -> Image:
    return x + amount


def saturation(x: Image, factor: float) -> Image:
    """Around the mean over channels, pixel by pixel."""
    out = np.empty_like(x)
    channels, resolution, _ = x.shape
    for i in range(resolution):
        for j in range(resolution):
            mean = sum(x[c, i, j] for c in range(channels)) / channels
            for c in range(channels):
                out[c, i, j] = mean + (x[c, i, j] - mean) * factor
    return out


def contrast(x: Image, factor: float) -> Image:
    """Around the mean over all channels and pixels."""
    mean = sum(x.flatten().tolist()) / x.size
    return mean + (x - mean) * factor


def crop(x: Image, down: int, right: int) -> Image:
    """Pixel (i,j) shows (i+down, j+right); 0 where that is outside."""
    out = np.zeros_like(x)
    resolution = x.shape[-1]
    for i in range(resolution):
        for j in range(resolution):
            if 0 <= i + down < resolution and 0 <= j + right < resolution:
                out[:, i, j] = x[:, i + down, j + right]
    return out


def cutout(x: Image, top: int, left: int) -> Image:
    """A square of half the side is 0."""
    out = x.copy()
    resolution = x.shape[-1]
    hole = int(0.5 * resolution + 0.5)
    for i in range(top, top + hole):
        for j in range(left, left + hole):
            if 0 <= i < resolution and 0 <= j < resolution:
                out[:, i, j] = 0
    return out


def _between(x: Image, row: float, column: float) -> Image:
    """Bilinear value at a place between pixel centres; everything outside is 0."""
    resolution = x.shape[-1]
    top, left = math.floor(row), math.floor(column)
    value = np.zeros(x.shape[0])
    for i in (top, top + 1):
        for j in (left, left + 1):
            if 0 <= i < resolution and 0 <= j < resolution:
                value += (1 - abs(row - i)) * (1 - abs(column - j)) * x[:, i, j]
    return value


def warp(x: Image, matrix: list[list[float]]) -> Image:
    """Sample where ``matrix`` sends the (x, y) of each pixel; edges of the picture are at +-1."""
    out = np.zeros_like(x)
    resolution = x.shape[-1]
    for i in range(resolution):
        for j in range(resolution):
            across, down = (2 * j + 1) / resolution - 1, (2 * i + 1) / resolution - 1
            to_across = matrix[0][0] * across + matrix[0][1] * down
            to_down = matrix[1][0] * across + matrix[1][1] * down
            out[:, i, j] = _between(
                x, ((to_down + 1) * resolution - 1) / 2, ((to_across + 1) * resolution - 1) / 2
            )
    return out


def scale(x: Image, across: float, down: float) -> Image:
    return warp(x, [[across, 0.0], [0.0, down]])


def rotate(x: Image, angle: float) -> Image:
    return warp(x, [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
