"""Train `brain-thin-slices` (6 mm to 2 mm), or with --high `brain-high-resolution`, on T1, T2 and FLAIR of the brain.

    python Resources/Training/brain_thin_slices.py --data DIR [--output FILE.safetensors] [--steps N] [--high]

DIR holds one folder per patient with T1.nii.gz, T2.nii.gz and FLAIR.nii.gz at 1 mm. Thick slices, or low resolution
and noise, are simulated; one network serves all contrasts. Only patients whose licence lets weights be passed on are
trained on, and never those of the benchmark: `ms_patient26`, `glioma_brats`, `glioma_aurora`.
"""

from __future__ import annotations

from training_script import MODELS, parse_arguments, write_manifest

from GANSynthesisLib.training import train

PATIENTS = ("ms_patient07", "glioma_tcga")
CONTRASTS = ("T1", "T2", "FLAIR")
SETTINGS = {
    "width": 16, "levels": 3, "batch": 2, "learning_rate": 1e-3, "beta1": 0.9, "warmup": 100, "decay_from": 0.3,
    "ema": 0.99, "l1_weight": 0, "l2_weight": 1, "validation_fraction": 0, "intensity": "median:0:3",
    "modality": "T1, T2 or FLAIR", "anatomy": "adult brain, skull-stripped", "checkpoint_every": 250,
}
THIN = {"spacing": "1,1,2", "factor": 3, "patch": "33,64,64"}
HIGH = {"spacing": "1", "factor": 2, "noise": 0.02, "patch": "48,48,48"}
LICENCE = "CC-BY 4.0. Trained on: MS patient of Lesjak 2017 (CC-BY); TCGA-LGG glioma patient (CC-BY 3.0)."
WARNING = (
    "Learned from two patients only (multiple sclerosis, low-grade glioma), skull-stripped, at 1 mm: small lesions "
    "may be invented or lost. Research only, not for diagnosis."
)
THIN_CARD = {
    "name": "brain-thin-slices", "title": "Thin brain slices from thick ones (6 mm to 2 mm)", "licence": LICENCE,
    "description": "Slices 2 mm apart from axial slices about 6 mm apart and thick, which are kept as they are. "
                   + WARNING,
}
HIGH_CARD = {
    "name": "brain-high-resolution", "title": "Brain of high from low resolution (2 mm to 1 mm)", "licence": LICENCE,
    "description": "A brain at 1 mm, less noisy, from one of half the resolution. Simulated: it stands in for 3 T to "
                   "7 T and has seen neither. " + WARNING,
}


def main() -> None:
    arguments = parse_arguments(__doc__, THIN_CARD["name"], steps=1200, options=("--high",))
    if arguments.high and arguments.output == MODELS / f"{THIN_CARD['name']}.safetensors":
        arguments.output = MODELS / f"{HIGH_CARD['name']}.safetensors"
    manifest = write_manifest(
        arguments.output,
        [{"name": f"{patient} {contrast}", "subject": patient,
          "image": arguments.data / patient / f"{contrast}.nii.gz"}
         for patient in PATIENTS for contrast in CONTRASTS],
    )
    system, settings, card = ("high_resolution", HIGH, HIGH_CARD) if arguments.high else (
        "thin_slices", THIN, THIN_CARD)
    train(
        system, manifest, arguments.output, settings=SETTINGS | settings, steps=arguments.steps, precision="bf16",
        card=card, resume=arguments.resume, progress=arguments.progress,
    )


if __name__ == "__main__":
    main()
