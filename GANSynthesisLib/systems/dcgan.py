"""The deep convolutional GAN."""

from __future__ import annotations

import dataclasses

from GANSynthesisLib.systems.generation import Generation, GenerationSettings
from GANSynthesisLib.systems.settings import setting


@dataclasses.dataclass(frozen=True)
class StridedSettings(GenerationSettings):
    """Settings of the methods whose networks are those of DCGAN."""

    architecture: str = setting(
        "strided", "strided convolutions with batch normalization (Radford 2016), or residual blocks with upsampling, "
        "and no normalization in the discriminator (Gulrajani 2017)", choices=("strided", "residual"),
    )


class DCGAN(Generation):
    """Images or 3D patches from noise by strided convolutions (Radford 2016).

    Needs cases with `image`; `classes=NAME` trains on one class alone (one network per class: Frid-Adar 2018,
    Salehinejad 2018). Batch normalization in both networks but for the first layer of the discriminator, LeakyReLU
    0.2, weights from N(0, 0.02), Adam 2e-4 with β₁ 0.5. Changed: group normalization in 3D and at fewer than four
    images per turn, where statistics of a batch mean nothing; a last 3×3 convolution; any size.
    """

    name = "dcgan"
    title = "Deep convolutional GAN (image and patch generation)"
    citation = (
        "Radford A. et al. Unsupervised Representation Learning with Deep Convolutional Generative Adversarial "
        "Networks. ICLR 2016."
    )
    Settings = StridedSettings
