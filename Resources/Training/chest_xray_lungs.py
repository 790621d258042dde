"""Train the models of the benchmark `radiographs.py`: lungs of real chest radiographs without labels of theirs.

    python Resources/Training/chest_xray_cases.py --data DIR --output runs/chest-xray-lungs
    python Resources/Training/chest_xray_lungs.py --data runs/chest-xray-lungs [--only NAME] [--output FILE]

Four models are written, FILE being the first: a TD-GAN (DRRs with labels, real radiographs without); `-unadapted`, its
segmentor on DRRs alone; `-supervised`, the same network on the real radiographs with their labels; and `-bones`, the
bones of a radiograph by regression on DRRs (Gozes 2020). The test radiographs are never trained on, nor are settings
chosen by them: those of the TD-GAN were, in three tries, by the masks of 16 of the training radiographs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from training_script import show_progress, write_manifest

from GANSynthesisLib.training import train

SHARED = {
    "context": "2D", "patch": "112,96", "spacing": "3.4", "batch": 4, "validation_fraction": 0, "ema": 0.99,
    "anatomy": "adult chest", "learning_rate": 5e-4, "checkpoint_every": 100, "warmup": 20,
}
LUNGS = {"labels": "background,lungs,heart and abdomen", "segmentor_width": 8}
TDGAN = SHARED | LUNGS | {
    "modality": "DRR", "target_modality": "X-ray", "width": 8, "levels": 3, "discriminator_width": 16,
    "discriminator_layers": 2, "segmentor_steps": 250, "cycle_weight": 5, "identity_weight": 2.5,
    "gradient_consistency_weight": 1, "parsing_weight": 0.3, "augment_intensity": 0.5, "decay_from": 0.7,
}
SEGMENTOR = SHARED | LUNGS | {"modality": "DRR"}
BONES = SHARED | {"modality": "X-ray", "target_modality": "bones", "width": 8, "gradient_difference_weight": 0.5}
CARD = {
    "licence": "not for distribution: the radiographs' licence is not known",
    "anatomy": "adult chest, frontal radiograph",
}


def cases(folder: Path, **roles: str) -> list[dict]:
    """Rows of a manifest, one per image: role -> the folder of its images below `folder`."""
    first, *_ = roles.values()
    return [
        {"name": path.stem, **{role: folder / part / path.name for role, part in roles.items()}}
        for path in sorted((folder / first).glob("*.nrrd"))
    ]


def runs(data: Path) -> dict[str, tuple[str, list[dict], dict, int]]:
    """Name -> system, cases, settings and steps of each run."""
    drrs = cases(data, source="drr/source", labels="drr/labels")
    return {
        "": ("tdgan", drrs + cases(data, target="train/images"), TDGAN, 500),
        "-unadapted": ("segmentor", drrs, SEGMENTOR, 250),
        "-supervised": ("segmentor", cases(data, source="train/images", labels="train/labels"),
                        SEGMENTOR | {"labels": "background,lungs", "modality": "X-ray"}, 250),
        "-bones": ("paired", cases(data, source="drr/source", target="drr/target"), BONES, 250),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder made by chest_xray_cases.py")
    parser.add_argument("--output", type=Path, help="by default beside --data, of the same name")
    parser.add_argument("--only", choices=("tdgan", "unadapted", "supervised", "bones"))
    parser.add_argument("--steps", type=int, help="of each run, in place of its own")
    parser.add_argument("--resume", action="store_true")
    chosen = parser.parse_args()
    data = chosen.data.resolve()
    output = chosen.output or data.with_name(f"{data.name}.safetensors")
    for suffix, (system, rows, settings, steps) in runs(data).items():
        if chosen.only not in (None, suffix.removeprefix("-") or system):
            continue
        model = output.with_name(f"{output.stem}{suffix}.safetensors")
        train(system, write_manifest(model, rows), model, settings=settings, steps=chosen.steps or steps, card=CARD,
              resume=chosen.resume, progress=show_progress)


if __name__ == "__main__":
    main()
