"""Train the shipped model `brain-t1-to-flair`: T1 -> FLAIR of the brain, as `brain_t1_to_t2.py` does T2.

    python Resources/Training/brain_t1_to_flair.py --data DIR [--output FILE.safetensors] [--steps N]

DIR holds one folder per patient with T1.nii.gz and FLAIR.nii.gz. `ms_patient26` is never trained on.
"""

from __future__ import annotations

import brain_t1_to_t2
from training_script import parse_arguments, write_manifest

from GANSynthesisLib.training import train

CARD = brain_t1_to_t2.CARD | {
    "name": "brain-t1-to-flair",
    "title": "Brain T1 to FLAIR (paired regression, 2.5D)",
    "description": (
        "Synthetic FLAIR volume from a skull-stripped T1-weighted brain at about 1 mm. Learned from two patients only "
        "(multiple sclerosis, low-grade glioma): expect plausible tissue contrast. Lesions that FLAIR is made for and "
        "T1 hardly shows are missing from it. Research only, not for diagnosis."
    ),
}


def main() -> None:
    arguments = parse_arguments(__doc__, CARD["name"], steps=2000, options=())
    manifest = write_manifest(
        arguments.output,
        [{"subject": name, "source": arguments.data / name / "T1.nii.gz",
          "target": arguments.data / name / "FLAIR.nii.gz"} for name in brain_t1_to_t2.MAY_SHIP],
    )
    train(
        "paired", manifest, arguments.output, settings=brain_t1_to_t2.SETTINGS | {"target_modality": "FLAIR"},
        steps=arguments.steps, precision="bf16", card=CARD, resume=arguments.resume, progress=arguments.progress,
    )


if __name__ == "__main__":
    main()
