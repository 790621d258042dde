"""Train `mr-trus-by-synthesis`: registration of prostate MR to ultrasound by translation (Tanner 2018), a yardstick.

    python Resources/Training/mr_trus_by_synthesis.py --data DIR --output FILE.safetensors [--steps N of each run]

DIR has moving_images (MR) and fixed_images (ultrasound), files obsNNN.nii.gz; labels are not used. Cases obs000 to
obs071 train; obs072 to obs083 are kept for the test.
"""

from __future__ import annotations

from training_script import TIE, TURN, parse_arguments, train_in_runs, write_manifest

LAST_TRAINING_CASE = 71
SETTINGS = {
    "patch": "48,48,48", "spacing": 2, "width": 8, "critic_width": 16, "batch": 1, "axes": "image",
    "cycle_noise": 0.02,
    "simulated_shift": 4, "simulated_rotation": 5, "simulated_scale": 0.05, "simulated_bend": 0,
    "validation_fraction": 0, "checkpoint_every": 200,
    "ema": 0.99, "fixed_modality": "TRUS", "moving_modality": "T2 MR", "fixed_intensity": "window:0:255",
    "moving_intensity": "window:0:255", "anatomy": "prostate",
}
RUNS = ((400, TURN), (300, TIE))
CARD = {
    "name": "mr-trus-by-synthesis",
    "title": "Prostate MR to transrectal ultrasound by translation",
    "description": (
        "Translates a T2-weighted MR of the prostate into the look of transrectal ultrasound and aligns the two by "
        "their similarity: the method of Tanner 2018, to hold other registrations against. Research demonstration, "
        "not for diagnosis or guidance."
    ),
    "licence": (
        "Research demonstration. Trained on 72 MR-TRUS pairs published as example data for label-driven registration "
        "(Hu 2018); the source states no licence."
    ),
}


def main() -> None:
    arguments = parse_arguments(__doc__, "mr-trus-by-synthesis", options=())
    rows = []
    for number in range(LAST_TRAINING_CASE + 1):
        name = f"obs{number:03d}"
        files = {role: arguments.data / f"{role}_images" / f"{name}.nii.gz" for role in ("fixed", "moving")}
        rows.append({"name": name, "subject": name, **files})
    manifest = write_manifest(arguments.output, rows)
    train_in_runs(arguments, "synthesis_registration", manifest, SETTINGS, RUNS, CARD)


if __name__ == "__main__":
    main()
