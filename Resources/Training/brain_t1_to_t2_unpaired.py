"""Train `brain-t1-to-t2-unpaired`, a CycleGAN T1 -> T2 of the brain on different patients per side, for the benchmark.

    python Resources/Training/brain_t1_to_t2_unpaired.py --data DIR --output FILE.safetensors [--steps N of each run]

DIR holds one folder per patient with T1.nii.gz and T2.nii.gz. T1 comes from three glioma patients, T2 from an MS
patient of the scanner whose look is wanted; `ms_patient26` is never trained on. Two runs: a short one with a loose
cycle, in which the translation turns to the contrast of T2, and a second one that starts from its generator and ties
the anatomy. With a tight cycle from the start the contrast of T1 is where the game settles. The second run is short,
too: on so few patients the discriminators soon know them by heart, and the translation gets worse again (seen on the
T1 and T2 of the patient whose T2 is trained on).
"""

from __future__ import annotations

from training_script import TIE, TURN, parse_arguments, train_in_runs, write_manifest

T1_OF, T2_OF = ("glioma_tcga", "glioma_brats", "glioma_aurora"), ("ms_patient07",)
SETTINGS = {
    "context": "2.5D", "slab": 3, "patch": "160,128", "spacing": "1", "width": 16, "batch": 1,
    "intensity": "median:0:3", "target_intensity": "median:0:3", "modality": "T1", "target_modality": "T2",
    "anatomy": "adult brain, skull-stripped", "cycle_noise": 0.02, "validation_fraction": 0, "checkpoint_every": 200,
    "ema": 0.99,
}
RUNS = ((300, TURN), (500, TIE))
CARD = {
    "name": "brain-t1-to-t2-unpaired",
    "title": "Brain T1 to T2 (unpaired CycleGAN, 2.5D)",
    "description": (
        "Synthetic T2 from a skull-stripped T1 brain, learned without pairs: T1 of three patients, T2 of another. "
        "Where pairs exist, brain-t1-to-t2 is the better choice. Research only, not for diagnosis."
    ),
    "licence": "not for distribution: licences of the training data differ",
}


def main() -> None:
    arguments = parse_arguments(__doc__, "brain-t1-to-t2-unpaired", options=())
    rows = [{"name": name, "subject": name, "source": arguments.data / name / "T1.nii.gz"} for name in T1_OF]
    rows += [{"name": name, "subject": name, "target": arguments.data / name / "T2.nii.gz"} for name in T2_OF]
    train_in_runs(arguments, "cyclegan", write_manifest(arguments.output, rows), SETTINGS, RUNS, CARD)


if __name__ == "__main__":
    main()
