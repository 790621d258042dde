"""Train the shipped model `brain-any-contrast`: any one of T1, T1c, T2 and FLAIR from the three others, by CollaGAN.

    python Resources/Training/brain_any_contrast.py --data DIR [--output FILE.safetensors] [--steps N]

DIR holds one folder per patient with T1, T1c, T2 and FLAIR.nii.gz. Only patients whose licence lets weights be passed
on are trained on; `ms_patient26` never is.
"""

from __future__ import annotations

from brain_t1_to_t2 import CARD as T1_TO_T2
from brain_t1_to_t2 import MAY_SHIP
from training_script import parse_arguments, write_manifest

from GANSynthesisLib.training import train

CONTRASTS = ("T1", "T1c", "T2", "FLAIR")
SETTINGS = {
    "sources": CONTRASTS, "context": "2.5D", "slab": 3, "patch": "160,128", "spacing": "1", "width": 16, "batch": 1,
    "discriminator_width": 16, "learning_rate": 1e-3, "discriminator_learning_rate": 2e-4, "beta1": 0.9, "warmup": 100,
    "decay_from": 0.3, "ema": 0.99, "validation_fraction": 0, "intensity": "median:0:3",
    "anatomy": "adult brain, skull-stripped", "checkpoint_every": 250,
}
CARD = {
    "name": "brain-any-contrast",
    "title": "Brain: any missing one of T1, T1c, T2 and FLAIR (CollaGAN, 2.5D)",
    "description": (
        "The missing one of four skull-stripped brain contrasts at about 1 mm, from the three others; it finds out "
        "which is missing. Learned from two patients only (multiple sclerosis, low-grade glioma): expect plausible "
        "tissue contrast, not lesions, and no enhancement that the others do not show. Research only, not for "
        "diagnosis."
    ),
    "licence": T1_TO_T2["licence"],
    "citations": (
        "Lee D. et al. CollaGAN: Collaborative GAN for Missing Image Data Imputation. CVPR 2019.",
        *T1_TO_T2["citations"][1:],
    ),
}


def main() -> None:
    arguments = parse_arguments(__doc__, "brain-any-contrast", steps=2400, options=())
    rows = [
        {"subject": name, **{contrast: arguments.data / name / f"{contrast}.nii.gz" for contrast in CONTRASTS}}
        for name in MAY_SHIP
    ]
    train(
        "collagan", write_manifest(arguments.output, rows), arguments.output, settings=SETTINGS,
        steps=arguments.steps, precision="bf16", card=CARD, resume=arguments.resume, progress=arguments.progress,
    )


if __name__ == "__main__":
    main()
