"""Applying models: volumes in, volumes and transforms out, on the inputs' own grids."""

from GANSynthesisLib.inference.apply import apply_model, available_outputs
from GANSynthesisLib.inference.generation import generate
from GANSynthesisLib.inference.registration import qualities
from GANSynthesisLib.progress import Cancelled
from GANSynthesisLib.result import Result

__all__ = ["Cancelled", "Result", "apply_model", "available_outputs", "generate", "qualities"]
