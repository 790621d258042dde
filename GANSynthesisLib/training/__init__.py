"""Training: cases, patches, the engine that plays the turns, checkpoints and the finished model."""

from GANSynthesisLib.training.run import Alert, Cancelled, train

__all__ = ["Alert", "Cancelled", "train"]
