"""The GAN with squared errors."""

from __future__ import annotations

from GANSynthesisLib.systems.generation import Generation


class LSGAN(Generation):
    """Images or 3D patches from noise; squared error of raw logits to 1 and 0 (Mao 2017).

    Needs cases with `image`. Images that are taken for real but lie far from the decision are still drawn to it, which
    cross-entropy does not do. No activation ends the discriminator. Changed: networks as of `gan` and `wgan`.
    """

    name = "lsgan"
    title = "Least-squares GAN (image and patch generation)"
    citation = "Mao X. et al. Least Squares Generative Adversarial Networks. ICCV 2017."
    adversarial = "least-squares"
