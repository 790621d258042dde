"""What a scanner makes of an anatomy, simulated: thick slices, cut k-space and noise; and interpolation back.

Images are (B, C, D, H, W) in [−1, 1]. A coarse image's first sample lies on the first sample of the fine one, so that
`n` samples become `(n − 1) · factor + 1`, from the first to the last, and every acquired one is among them.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

PROFILES = ("gaussian", "boxcar")


def slice_profile(kind: str, factor: int) -> torch.Tensor:
    """(2 m + 1,) weights of fine slices in one that is `factor` times as thick, around its center; they add up to 1.

    gaussian: full width at half maximum of the thickness, cut off at three halves of it, as slice-selective pulses
    give; boxcar: the share of each fine slice that lies within the thickness.
    """
    if kind == "boxcar":
        margin = factor // 2
        weights = torch.ones(2 * margin + 1)
        if factor % 2 == 0:
            weights[0] = weights[-1] = 0.5
    elif kind == "gaussian":
        margin = math.floor(1.5 * factor)
        at = torch.arange(-margin, margin + 1) / factor
        weights = torch.exp(-4 * math.log(2) * at.square())
    else:
        raise ValueError(f"unknown slice profile {kind!r}; there are: {', '.join(PROFILES)}.")
    return weights / weights.sum()


def thick_slices(image: torch.Tensor, kind: str, factor: int, axis: int = 2) -> tuple[torch.Tensor, slice]:
    """Slices `factor` times as thick and as far apart, along a dimension of the image; and the fine ones from the
    center of the first to that of the last. Only slices that lie in the image with their whole profile are taken.
    """
    weights = slice_profile(kind, factor).to(image)
    margin, size = len(weights) // 2, image.shape[axis]
    if size < len(weights):
        raise ValueError(f"{size} slices are fewer than the {len(weights)} of one slice profile.")
    moved = image.movedim(axis, -1)
    flat = moved.reshape(-1, 1, size)
    thick = F.conv1d(flat, weights[None, None], stride=factor).reshape(*moved.shape[:-1], -1)
    return thick.movedim(-1, axis), slice(margin, margin + (thick.shape[-1] - 1) * factor + 1)


def interpolated(image: torch.Tensor, factor: int, axis: int = 2) -> torch.Tensor:
    """`factor` times as many samples along a dimension by cubic convolution (Keys 1981), linear at the two ends.

    The samples themselves stay as they are, to the bit.
    """
    size = image.shape[axis]
    if factor == 1 or size < 2:
        return image
    moved = image.movedim(axis, 0)
    ends = torch.cat([2 * moved[:1] - moved[1:2], moved, 2 * moved[-1:] - moved[-2:-1]])
    before, left, right, after = (ends[start : start + size - 1] for start in range(4))
    fine = moved.new_empty((size - 1) * factor + 1, *moved.shape[1:])
    fine[::factor] = moved
    for step in range(1, factor):
        t = step / factor
        fine[step::factor] = (
            (-0.5 * t + t**2 - 0.5 * t**3) * before + (1 - 2.5 * t**2 + 1.5 * t**3) * left
            + (0.5 * t + 2 * t**2 - 1.5 * t**3) * right + (0.5 * t**3 - 0.5 * t**2) * after
        )
    return fine.movedim(0, axis)


def truncated(image: torch.Tensor, factor: float) -> torch.Tensor:
    """The image without the spatial frequencies that voxels `factor` times as large cannot hold, on its own grid.

    What a scanner shows that measures less of k-space and fills the rest with zeros. The image goes on mirrored beyond
    its border, so that nothing of one end comes in at the other.
    """
    for axis in _long_axes(image):
        spectrum = torch.fft.rfft(_mirrored(image, axis), dim=axis)
        kept = math.ceil(image.shape[axis] / factor)  # bins of half a period each: the last one lies below Nyquist
        spectrum.narrow(axis, kept, spectrum.shape[axis] - kept).zero_()
        image = torch.fft.irfft(spectrum, n=2 * image.shape[axis], dim=axis).narrow(axis, 0, image.shape[axis])
    return image


def zero_filled(image: torch.Tensor, factor: int, axis: int) -> torch.Tensor:
    """`factor` times as many samples along a dimension by a longer k-space, filled with zeros (sinc interpolation)."""
    size = image.shape[axis]
    if factor == 1 or size < 2:
        return image
    spectrum = torch.fft.rfft(_mirrored(image, axis), dim=axis)
    fine = torch.fft.irfft(spectrum, n=2 * size * factor, dim=axis) * factor
    return fine.narrow(axis, 0, (size - 1) * factor + 1)


def with_rician_noise(image: torch.Tensor, level: float, factor: float = 1) -> torch.Tensor:
    """The magnitude of a complex signal with normal noise of deviation `level` (of the range −1 … 1, which is 1) in
    both parts (Gudbjartsson and Patz 1995); −1 is no signal.

    factor: of `truncated`, where the image is: then its noise, too, is in the measured part of k-space alone.
    """
    if level == 0:
        return image
    signal, louder = (image + 1) / 2, level * factor ** (len(_long_axes(image)) / 2)  # the rest of k-space has none
    real, imaginary = (
        louder * (torch.randn_like(signal) if factor == 1 else truncated(torch.randn_like(signal), factor))
        for _ in range(2)
    )
    return 2 * ((signal + real).square() + imaginary.square()).sqrt() - 1


def _mirrored(image: torch.Tensor, axis: int) -> torch.Tensor:
    return torch.cat([image, image.flip(axis)], axis)


def _long_axes(image: torch.Tensor) -> list[int]:
    return [axis for axis in range(2, image.dim()) if image.shape[axis] > 1]
