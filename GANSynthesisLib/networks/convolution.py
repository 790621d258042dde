"""3D convolutions that are fast and right on small grids, too."""

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
        if image.device.type == "cpu" and torch.is_autocast_enabled("cpu") and image.shape[-3] < self.kernel_size[0]:
            # Where the kernel is deeper than the image, oneDNN (torch 2.13) leaves part of the bf16 gradient unset.
            with torch.autocast("cpu", enabled=False):
                return super().forward(image.float())
        if not self._overlooked(image):
            return super().forward(image)
        return torch.ops.aten.mkldnn_convolution(
            image, self.weight, self.bias, self.padding, self.stride, self.dilation, self.groups
        )

    def _overlooked(self, image: torch.Tensor) -> bool:
        counted = image.shape[1] * image.shape[2] * image.shape[3] if image.dim() == 5 else 0
        return (
            image.device.type == "cpu" and image.dtype == self.weight.dtype == torch.float32
            and 0 < counted <= TAKEN_BY_TORCH and image.shape[0] == 1 and max(self.kernel_size) > 1
            and self.padding_mode == "zeros" and not isinstance(self.padding, str)
            and torch.backends.mkldnn.is_available() and not torch.is_autocast_enabled("cpu")
        )
