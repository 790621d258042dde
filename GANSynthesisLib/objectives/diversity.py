"""How alike made images are among themselves and to the images a generator learned from.

Images are tensors (N, C, D, H, W) of one shape in [−1, 1]; D is 1 in 2D.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from GANSynthesisLib.objectives.image import multiscale_similarity

SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # weights of the scales from fine to coarse (Wang 2003)
WINDOW = 7  # voxels
COARSE = 16  # voxels along an axis to which images are averaged before they are compared voxel by voxel


def ms_ssim(images: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Multi-scale structural similarity (N,) of images with others, one by one; 1 where they are the same.

    Wang, Simoncelli and Bovik 2003, in two or three dimensions, with as many of its five scales as the images have
    room for. Raises ValueError for images smaller than 7 voxels along an axis.
    """
    sizes = [size for size in images.shape[2:] if size > 1]
    if min(sizes, default=1) < WINDOW:
        raise ValueError(f"MS-SSIM needs images of at least {WINDOW} voxels along each axis, not {tuple(sizes)}.")
    count = max(n for n in range(1, len(SCALES) + 1) if min(sizes) // 2 ** (n - 1) >= WINDOW)
    return multiscale_similarity(images, others, [weight / sum(SCALES[:count]) for weight in SCALES[:count]])


def pairwise_ms_ssim(images: torch.Tensor, pairs: int = 64) -> float:
    """Mean MS-SSIM between different images of a set, over that many evenly spread pairs: high where a generator
    makes the same image over and over (Odena 2017). Raises ValueError for fewer than two images."""
    if len(images) < 2:
        raise ValueError("The likeness among images needs at least two of them.")
    first, second = torch.triu_indices(len(images), len(images), 1)
    chosen = torch.linspace(0, len(first) - 1, min(pairs, len(first))).round().long()
    return float(ms_ssim(images[first[chosen]], images[second[chosen]]).mean())


def distance_to_nearest(images: torch.Tensor, known: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Root mean squared difference (N,) of every image to the nearest of the known ones, and which one (N,) that is.

    Compared at 16 voxels along each axis at most: noise and small shifts hide no copy.
    """
    return torch.cdist(_coarse(images), _coarse(known)).min(1)


def distance_to_others(images: torch.Tensor, owners: torch.Tensor, some: torch.Tensor) -> torch.Tensor:
    """As above, of some (S,) of the images (N, …), by number, to the nearest image of another owner (N,): (S,)."""
    coarse = _coarse(images)
    apart = torch.cdist(coarse[some], coarse)
    return apart.masked_fill(owners[some][:, None] == owners, torch.inf).min(1).values


def _coarse(images: torch.Tensor) -> torch.Tensor:
    """(N, voxels), scaled so that a Euclidean distance is a root mean squared difference."""
    size = [min(length, COARSE) for length in images.shape[2:]]
    flat = F.adaptive_avg_pool3d(images.float(), size).flatten(1)
    return flat / flat.shape[1] ** 0.5
