"""Convolutions that are fast and right on small grids, too, and those of images whose every voxel is repeated."""

from __future__ import annotations

import torch
from torch import nn

# torch (2.13) gives a convolution of one image to oneDNN only above this many numbers, and for volumes it forgets to
# count the last axis: 16 channels on 32³ voxels are 16,384 to it, and go to a kernel that is several times slower.
TAKEN_BY_TORCH = 20480


class Conv3d(nn.Conv3d):
    """`nn.Conv3d` that hands small volumes, (1, C, D, H, W) in fp32 on a CPU, to oneDNN.

    Same weights, same answer up to rounding, and with gradients; 16 channels on 24³ voxels take an eighth of the time.
    """

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if _too_shallow_for_bf16(image, self.weight):
            with torch.autocast("cpu", enabled=False):
                return super().forward(image.float())
        if self.padding_mode != "zeros" or isinstance(self.padding, str) or not _overlooked(image, self.weight):
            return super().forward(image)
        given = (self.padding, self.stride, self.dilation)
        if torch.is_grad_enabled() and self.groups == 1:
            return _as_two_images(image, self.weight, self.bias, *given)
        return torch.ops.aten.mkldnn_convolution(image, self.weight, self.bias, *given, self.groups)


def convolve(
    image: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None, stride: int = 1,
    padding: tuple[int, ...] = (0, 0, 0),
) -> torch.Tensor:
    """The convolution (2D or 3D by the number of axes of the kernel) with weights of no layer; as fast as `Conv3d`."""
    if max(weight.shape[2:]) == 1 and stride == 1 and not any(padding):
        return nn.functional.linear(image.movedim(1, -1), weight.flatten(1), bias).movedim(-1, 1)
    if _too_shallow_for_bf16(image, weight):
        with torch.autocast("cpu", enabled=False):
            return convolve(image.float(), weight, bias, stride, padding)
    if _overlooked(image, weight):
        strides, ones = (stride,) * 3, (1, 1, 1)
        if torch.is_grad_enabled():
            return _as_two_images(image, weight, bias, padding, strides, ones)
        return torch.ops.aten.mkldnn_convolution(image, weight, bias, padding, strides, ones, 1)
    given = nn.functional.conv2d if image.dim() == 4 else nn.functional.conv3d
    return given(image, weight, bias, stride, padding)


def convolve_doubled(image: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The 3-convolution, with padding 1, of an image with every voxel repeated twice along each axis.

    (B, I, D, H, W) and (O, I, 3, 3, 3) -> (B, O, 2D, 2H, 2W), or the same in 2D. Exact up to rounding.
    """
    given = nn.functional.conv_transpose2d if image.dim() == 4 else nn.functional.conv_transpose3d
    return given(image, doubled_kernel(weight), None, 2, 1)


def convolve_joined(layer: nn.Module, skip: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """What a layer of 3-convolutions without bias gives for `skip` and the doubled `image` behind each other, neither
    of which is made: a convolution of both is the sum of one of each."""
    own, others = layer.weight.split((skip.shape[1], image.shape[1]), 1)
    return convolve(skip, own, None, 1, layer.padding) + convolve_doubled(image, others)


def doubled_kernel(weight: torch.Tensor) -> torch.Tensor:
    """(O, I, 3, …) -> (I, O, 4, …): `convolve_doubled` as a transposed convolution with stride 2 and padding 1.

    Of three neighbors in the doubled image two are the same voxel, so their weights add up: along each axis 2 products
    instead of 3, and 8 instead of 27 in a volume.
    """
    for axis in range(2, weight.dim()):
        before, at, after = weight.unbind(axis)
        weight = torch.stack([after, at + after, before + at, before], axis)
    return weight.transpose(0, 1)


def _as_two_images(image: torch.Tensor, weight: torch.Tensor, bias, padding, stride, dilation) -> torch.Tensor:
    """One image convolved as a batch of two, its upper and its lower part: of batches the gradients, too, are left to
    oneDNN, and take a third of the time."""
    reach = dilation[0] * (weight.shape[2] - 1) + 1
    rows = (image.shape[2] + 2 * padding[0] - reach) // stride[0] + 1
    half = -(-rows // 2)
    first, size = half * stride[0], (half - 1) * stride[0] + reach
    below = max(first + size - padding[0] - image.shape[2], 0)
    image = nn.functional.pad(image, (0, 0, 0, 0, padding[0], below))
    parts = torch.cat([image[:, :, :size], image[:, :, first : first + size]])
    upper, lower = nn.functional.conv3d(parts, weight, bias, stride, (0, *padding[1:]), dilation).split(1)
    return torch.cat([upper, lower[:, :, : rows - half]], 2)


def _overlooked(image: torch.Tensor, weight: torch.Tensor) -> bool:
    counted = image.shape[1] * image.shape[2] * image.shape[3] if image.dim() == 5 else 0
    return (
        image.device.type == "cpu" and image.dtype == weight.dtype == torch.float32
        and 0 < counted <= TAKEN_BY_TORCH and image.shape[0] == 1 and max(weight.shape[2:]) > 1
        and torch.backends.mkldnn.is_available() and not torch.is_autocast_enabled("cpu")
    )


def _too_shallow_for_bf16(image: torch.Tensor, weight: torch.Tensor) -> bool:
    """Where the kernel is deeper than the image, oneDNN (torch 2.13) leaves part of the bf16 gradient unset."""
    return (
        image.device.type == "cpu" and torch.is_autocast_enabled("cpu") and weight.dim() == 5
        and image.shape[-3] < weight.shape[2]
    )
