"""Train `brain-by-synthesis`: registration of a brain's T1 to its T2 by translation (Tanner 2018), a yardstick.

    python Resources/Training/brain_by_synthesis.py --data DIR --output FILE.safetensors [--steps N of each run]

DIR holds one folder per patient with T1.nii.gz and T2.nii.gz, of the patients that `brain-registration` is trained on;
`ms_patient26` is never trained on. The T1 of one patient goes with the T2 of another as well: nothing but the
discriminators says what a T2 looks like.
"""

from __future__ import annotations

from itertools import product

from training_script import TIE, TURN, parse_arguments, train_in_runs, write_manifest

PATIENTS = ("ms_patient07", "glioma_tcga")
SETTINGS = {
    "patch": "56,66,56", "spacing": 3, "width": 8, "critic_width": 16, "batch": 1, "start": "foreground", "margin": 6,
    "cycle_noise": 0.02,
    "simulated_shift": 5, "simulated_rotation": 10, "simulated_scale": 0.1, "simulated_bend": 2,
    "validation_fraction": 0, "checkpoint_every": 200,
    "ema": 0.99, "fixed_modality": "T2", "moving_modality": "T1", "anatomy": "adult brain, skull-stripped",
}
RUNS = ((400, TURN), (300, TIE))
CARD = {
    "name": "brain-by-synthesis",
    "title": "Brain T1 to T2 registration by translation",
    "description": (
        "Translates a skull-stripped T1 of the brain into the look of a T2 and aligns the two by similarity: the "
        "method of Tanner 2018, to hold other registrations against. Research only, not for diagnosis."
    ),
    "licence": (
        "CC-BY 4.0. Trained on: MS patient of Lesjak 2017 (CC-BY); TCGA-LGG glioma patient (CC-BY 3.0)."
    ),
}


def main() -> None:
    arguments = parse_arguments(__doc__, "brain-by-synthesis", options=())
    rows = [
        {"name": f"{fixed}_{moving}", "subject": fixed, "fixed": arguments.data / fixed / "T2.nii.gz",
         "moving": arguments.data / moving / "T1.nii.gz"}
        for fixed, moving in product(PATIENTS, repeat=2)
    ]
    manifest = write_manifest(arguments.output, rows)
    train_in_runs(arguments, "synthesis_registration", manifest, SETTINGS, RUNS, CARD)


if __name__ == "__main__":
    main()
