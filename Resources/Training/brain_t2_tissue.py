"""Train the shipped model `brain-t2-tissue`, a segmentor of T2 that has never seen a label of a T2 image.

    python Resources/Training/brain_t2_tissue.py --data DIR --labels DIR [--output FILE.safetensors] [--steps N]

A CycleGAN translates the T1 of one patient (with tissue labels, from tissue_labels.py) to the look of another
patient's T2; the segmentor learns on the translation, and its loss steers the generator (Huo 2018). Writes the whole
CycleGAN beside the segmentor as brain-t1-to-t2-cyclegan. `--on-t1` trains the same segmentor on T1 as it is, the
comparison of the benchmark. `ms_patient26` is never trained on.
"""

from __future__ import annotations

from training_script import parse_arguments, write_manifest

from GANSynthesisLib.training import extract_segmentor, train

LABELED_T1, OTHER_T2 = "ms_patient07", "glioma_tcga"
SHARED = {
    "context": "2.5D", "slab": 3, "patch": "160,128", "spacing": "1", "segmentor_width": 16,
    "intensity": "median:0:3", "modality": "T1", "anatomy": "adult brain, skull-stripped", "batch": 2,
    "labels": "background,cerebrospinal fluid,gray matter,white matter", "validation_fraction": 0,
    "checkpoint_every": 100, "ema": 0.99, "decay_from": 0.5,
}
CYCLEGAN = SHARED | {
    "target_intensity": "median:0:3", "target_modality": "T2", "width": 16, "learning_rate": 5e-4, "batch": 1,
    "cycle_weight": 3, "gradient_consistency_weight": 0.3,
    "segmentation_weight": 1, "cycle_noise": 0.02,
}
LICENCE = "CC-BY 4.0. Trained on: MS patient of Lesjak 2017 (CC-BY); TCGA-LGG glioma patient (CC-BY 3.0)."
LABELS_ARE = (
    "The labels of the training T1 come from a Gaussian mixture with a Markov random field (Atropos), not from a "
    "reader. "
)
CYCLEGAN_CARD = {
    "name": "brain-t1-to-t2-cyclegan",
    "title": "Brain T1 to T2 (unpaired CycleGAN with segmentation loss, 2.5D)",
    "description": (
        "Synthetic T2 from a skull-stripped T1 brain, learned without pairs: T1 of one patient, T2 of another. Where "
        "pairs exist, brain-t1-to-t2 is the better choice. Research only, not for diagnosis."
    ),
    "licence": LICENCE,
}
SEGMENTOR_CARD = {
    "name": "brain-t2-tissue",
    "title": "Brain tissue of T2 (segmentor trained through translation)",
    "description": (
        "Cerebrospinal fluid, gray and white matter of a skull-stripped T2 brain at about 1 mm. Trained without any "
        "label of a T2 image, on a CycleGAN's translations of a labeled T1 (one patient) to the look of another "
        f"patient's T2. {LABELS_ARE}Lesions are not a class. Research only, not for diagnosis."
    ),
    "licence": LICENCE,
}


def main() -> None:
    arguments = parse_arguments(
        __doc__, "brain-t2-tissue", steps=1700, options=("--on-t1",), folders=("--labels",)
    )
    labeled = {"name": LABELED_T1, "subject": LABELED_T1, "source": arguments.data / LABELED_T1 / "T1.nii.gz",
               "labels": arguments.labels / LABELED_T1 / "tissue.nii.gz"}
    if arguments.on_t1:
        train(
            "segmentor", write_manifest(arguments.output, [labeled]), arguments.output, precision="bf16",
            settings=SHARED | {"learning_rate": 4e-4, "beta1": 0.9}, steps=arguments.steps,
            resume=arguments.resume, progress=arguments.progress,
        )
        return
    other = {"name": OTHER_T2, "subject": OTHER_T2, "target": arguments.data / OTHER_T2 / "T2.nii.gz"}
    whole = arguments.output.with_name("brain-t1-to-t2-cyclegan.safetensors")
    train(
        "cyclegan", write_manifest(arguments.output, [labeled, other]), whole, settings=CYCLEGAN,
        steps=arguments.steps, precision="bf16", card=CYCLEGAN_CARD, resume=arguments.resume,
        progress=arguments.progress,
    )
    extract_segmentor(whole, arguments.output, card=SEGMENTOR_CARD)


if __name__ == "__main__":
    main()
