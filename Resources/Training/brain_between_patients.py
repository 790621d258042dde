"""Train `brain-between-patients`: deformable T1 registration between patients without a similarity measure (Fan 2018).

    python Resources/Training/brain_between_patients.py --data DIR --output FILE.safetensors [--steps N]

DIR holds one folder per patient with a skull-stripped T1.nii.gz. Every ordered pair of two patients is a training
pair; no labels are used. `ms_patient26` is never trained on. For the benchmark only: licences of the data differ.
"""

from __future__ import annotations

from itertools import permutations

from training_script import parse_arguments, write_manifest

from GANSynthesisLib.training import train

PATIENTS = ("ms_patient07", "glioma_tcga", "glioma_brats", "glioma_aurora")
SETTINGS = {
    "patch": "44,56,44", "spacing": 3.5, "width": 12, "batch": 2, "start": "foreground", "blend": 0.15,
    "learning_rate": 5e-4, "discriminator_learning_rate": 2e-4, "smoothness_weight": 100, "augment_intensity": 0.3,
    "fixed_modality": "T1", "moving_modality": "T1", "anatomy": "adult brain, skull-stripped",
    "validation_fraction": 0, "checkpoint_every": 100, "ema": 0.99,
}
CARD = {
    "name": "brain-between-patients",
    "title": "Brain T1 between patients (unsupervised adversarial, deformable)",
    "description": (
        "Deforms one patient's skull-stripped T1 onto another's, learned from a discriminator alone. A demonstration "
        "of the method. Research only, not for diagnosis."
    ),
    "licence": "not for distribution: licences of the training data differ",
}


def main() -> None:
    arguments = parse_arguments(__doc__, "brain-between-patients", steps=700, options=())
    rows = [
        {"name": f"{fixed}_{moving}", "subject": fixed, "fixed": arguments.data / fixed / "T1.nii.gz",
         "moving": arguments.data / moving / "T1.nii.gz"}
        for fixed, moving in permutations(PATIENTS, 2)
    ]
    train(
        "adversarial_registration", write_manifest(arguments.output, rows), arguments.output, settings=SETTINGS,
        steps=arguments.steps, precision="bf16", card=CARD, resume=arguments.resume, progress=arguments.progress,
    )


if __name__ == "__main__":
    main()
