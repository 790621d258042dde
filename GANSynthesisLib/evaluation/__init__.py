"""How good a result is: measures of images, segmentations and registrations, with their definitions."""

from GANSynthesisLib.evaluation.metrics import (
    center_of_mass,
    dice,
    hausdorff_95,
    landmark_errors_mm,
    masked_mae,
    masked_psnr,
    masked_ssim,
    structural_similarity,
)

__all__ = [
    "center_of_mass",
    "dice",
    "hausdorff_95",
    "landmark_errors_mm",
    "masked_mae",
    "masked_psnr",
    "masked_ssim",
    "structural_similarity",
]
