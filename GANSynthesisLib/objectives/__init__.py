"""Losses: adversarial, image, segmentation and deformation terms, all on plain tensors (B, C, D, H, W)."""
