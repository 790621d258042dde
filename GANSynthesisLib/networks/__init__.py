"""Networks: translators, discriminators, segmentors, registration and generation nets; tensors (B, C, D, H, W)."""
