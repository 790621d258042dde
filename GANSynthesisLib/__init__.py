"""GANSynthesis: generative adversarial networks for medical volumes, in 3D Slicer and without it."""

__version__ = "0.1.0"
