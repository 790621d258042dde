"""Train the shipped model `brain-t1-to-t2`: T1 -> T2 of the skull-stripped brain by paired 2.5D regression.

    python Resources/Training/brain_t1_to_t2.py --data DIR [--output FILE.safetensors] [--steps N] [--all-subjects]

DIR holds one folder per patient with T1.nii.gz and T2.nii.gz. Only patients whose licence lets weights be passed on
train the shipped model; `--all-subjects` adds the others, for the benchmark (with --steps 8000). `ms_patient26` is
never trained on.
"""

from __future__ import annotations

from training_script import parse_arguments, write_manifest

from GANSynthesisLib.training import train

MAY_SHIP = ("ms_patient07", "glioma_tcga")
OTHERS = ("glioma_brats", "glioma_aurora")
SETTINGS = {
    "context": "2.5D", "slab": 3, "patch": "160,128", "spacing": "1", "width": 16, "batch": 4,
    "learning_rate": 1e-3, "beta1": 0.9, "warmup": 100, "augment_intensity": 0.1,
    "decay_from": 0.3, "ema": 0.99, "validation_fraction": 0,
    "intensity": "median:0:3", "target_intensity": "median:0:3", "modality": "T1", "target_modality": "T2",
    "anatomy": "adult brain, skull-stripped", "checkpoint_every": 250,
}
CARD = {
    "name": "brain-t1-to-t2",
    "title": "Brain T1 to T2 (paired regression, 2.5D)",
    "description": (
        "Synthetic T2-weighted volume from a skull-stripped T1-weighted brain at about 1 mm. Learned from two "
        "patients only (multiple sclerosis, low-grade glioma): expect plausible tissue contrast, not lesions. Images "
        "with skull, contrast agent or other pathology are outside what it has seen. Research only, not for diagnosis."
    ),
    "licence": (
        "CC-BY 4.0. Trained on: MS patient of Lesjak 2017 (CC-BY); TCGA-LGG glioma patient (CC-BY 3.0)."
    ),
    "citations": (
        "Isola P. et al. Image-to-Image Translation with Conditional Adversarial Networks. CVPR 2017.",
        "Lesjak Z. et al. A Novel Public MR Image Dataset of Multiple Sclerosis Patients With Lesion Segmentations "
        "Based on Multi-rater Consensus. Neuroinformatics 2018.",
        "Pedano N. et al. The Cancer Genome Atlas Low Grade Glioma Collection (TCGA-LGG). TCIA 2016.",
    ),
}


def main() -> None:
    arguments = parse_arguments(__doc__, "brain-t1-to-t2", steps=4000)
    patients = MAY_SHIP + (OTHERS if arguments.all_subjects else ())
    manifest = write_manifest(
        arguments.output,
        [{"subject": name, "source": arguments.data / name / "T1.nii.gz",
          "target": arguments.data / name / "T2.nii.gz"} for name in patients],
    )
    card = dict(CARD)
    if arguments.all_subjects:
        card |= {"name": "brain-t1-to-t2-all", "licence": "not for distribution: licences of the training data differ"}
    train(
        "paired", manifest, arguments.output, settings=SETTINGS, steps=arguments.steps, precision="bf16", card=card,
        resume=arguments.resume, progress=arguments.progress,
    )


if __name__ == "__main__":
    main()
