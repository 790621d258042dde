"""Training: cases, patches, the engine that plays the turns, checkpoints and the finished model."""

from GANSynthesisLib.training.run import Alert, Cancelled, train
from GANSynthesisLib.training.segmentors import extract_segmentor

__all__ = ["Alert", "Cancelled", "extract_segmentor", "train"]
