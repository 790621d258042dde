"""Train the shipped model `brain-registration`: affine and dense registration between contrasts of the brain.

    python Resources/Training/brain_registration.py --data DIR [--output FILE.safetensors] [--steps N of each run]

DIR holds one folder per patient with co-registered T1, T1c, T2 and FLAIR. Every ordered pair of two contrasts of a
patient is a training pair whose misalignment is simulated; `ms_patient26` is never trained on.
"""

from __future__ import annotations

from itertools import permutations

from training_script import parse_arguments, train_in_runs, write_manifest

PATIENTS = ("ms_patient07", "glioma_tcga")
CONTRASTS = ("T1", "T1c", "T2", "FLAIR")
SETTINGS = {
    "patch": "48,56,48", "spacing": 3.5, "width": 16, "batch": 2, "aligned": True, "start": "foreground",
    "simulated_shift": 8, "simulated_rotation": 15, "simulated_scale": 0.1, "simulated_bend": 3, "contrast": 0.5,
    "learning_rate": 1e-3, "discriminator_learning_rate": 2e-4, "smoothness_weight": 20, "adversarial_weight": 0.005,
    "truth_weight": 0.2, "validation_fraction": 0, "checkpoint_every": 100, "decay_from": 0.4, "ema": 0.99,
    "fixed_modality": "T1, T2 or FLAIR", "moving_modality": "T1, T2 or FLAIR",
    "anatomy": "adult brain, skull-stripped",
}
# Three runs, each from the weights of the one before, with steps of its own. The second: closer misalignment, and the
# learning rate back up for most of it. The third: the dense stage corrects the linear part, on misalignment as wide as
# the first one's (and, since the code learned to, on mirrored pairs and with the fixed image turned as well).
RUNS = (
    (800, {}),
    (800, {"decay_from": 0.6, "warmup": 20, "simulated_shift": 5, "simulated_rotation": 10}),
    (1800, {"decay_from": 0.3, "warmup": 20, "learning_rate": 5e-4, "correction": 5}),
)
CARD = {
    "name": "brain-registration",
    "title": "Brain registration across contrasts (affine and dense)",
    "description": (
        "Aligns two skull-stripped brain volumes of the same or different contrast (T1, T1 with contrast agent, T2, "
        "FLAIR) of one person. Learned from simulated misalignment (up to 8 mm after the centers are laid on each "
        "other, 15 degrees, 10 % scaling, smooth bending of some mm) of two patients. Not meant for images with "
        "skull, for large resections, or between people. Research only, not for diagnosis."
    ),
    "licence": (
        "CC-BY 4.0. Trained on: MS patient of Lesjak 2017 (CC-BY); TCGA-LGG glioma patient (CC-BY 3.0)."
    ),
}


def main() -> None:
    arguments = parse_arguments(__doc__, "brain-registration", options=())
    rows = [
        {"name": f"{name}_{fixed}_{moving}", "subject": name, "fixed": arguments.data / name / f"{fixed}.nii.gz",
         "moving": arguments.data / name / f"{moving}.nii.gz"}
        for name in PATIENTS for fixed, moving in permutations(CONTRASTS, 2)
    ]
    train_in_runs(arguments, "wgan_registration", write_manifest(arguments.output, rows), SETTINGS, RUNS, CARD)


if __name__ == "__main__":
    main()
