"""Does a last step make a segmentation better? Dice and HD95 before and after a dense CRF and a shape model.

    python Testing/Benchmarks/refinement.py [--data DIR] [--cases DIR] [--count N]

Lungs of real chest radiographs that no model has seen (made by Resources/Training/chest_xray_cases.py, the models by
chest_xray_lungs.py): of the TD-GAN, and of the segmentor of DRRs as it is. The shapes are those of the labels of the
training radiographs. Brain tissue of ms_patient26 in T2 (labels by Resources/Training/tissue_labels.py), by the
shipped brain-t2-tissue; tissue has no shape to speak of, so that only the CRF is measured.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from command import RUNS, Entry, LeftOut, existing_folder, parser, print_table, refuse_test_subjects, run

from GANSynthesisLib.evaluation import dice, hausdorff_95
from GANSynthesisLib.files import read_volume
from GANSynthesisLib.inference import apply_model
from GANSynthesisLib.inference.shapes import fit_shapes, save_shapes
from GANSynthesisLib.models import Model, load_model
from GANSynthesisLib.volumes import Volume, resample

LUNGS = "chest-xray-lungs"
MODELS = {"TD-GAN": ("", "target"), "segmentor of DRRs": ("-unadapted", "source")}
TISSUE, PATIENT = "brain-t2-tissue", "ms_patient26"
HEADER = ("model", "last step", "Dice", "worst", "HD95 mm", "better in")


def measured(model: Model, role: str, cases: list[tuple[Volume, Volume]], refine: str, device: str) -> np.ndarray:
    """(Dice, HD95 mm) of every case, the mean over the structures, (N, 2)."""
    found = []
    for image, reference in cases:
        labels = apply_model(model, {role: image}, outputs=["segmentation"], device=device, refine=refine)
        labels = labels.outputs["segmentation"]
        values = [value for value in labels.label_names if value and (reference.voxels == value).any()]
        overlap = dice(labels.voxels, reference.voxels, values)
        apart = [hausdorff_95(labels.voxels == value, reference.voxels == value, labels.spacing) for value in values]
        found.append((np.mean([overlap[value] for value in values]), np.mean(apart)))
    return np.array(found)


def compared(
    title: str, model: Model, role: str, cases, steps: dict[str, str], device: str
) -> tuple[list, list[Entry]]:
    """Rows of the table, and an entry for each last step (name -> `refine`)."""
    before = measured(model, role, cases, "", device)
    rows, entries = [(title, "none", *_told(before), "")], []
    for name, refine in steps.items():
        after = measured(model, role, cases, refine, device)
        better = int((after[:, 0] > before[:, 0]).sum())
        rows.append((title, name, *_told(after), f"{better} of {len(cases)}"))
        apart = f"HD95 {after[:, 1].mean():.2f} mm; peer: without it, {before[:, 1].mean():.2f} mm; higher"
        entries.append(Entry(f"{title}, {name}", after[:, 0].mean(), before[:, 0].mean(), "Dice", apart))
    return rows, entries


def _told(scores: np.ndarray) -> tuple[str, str, str]:
    return f"{scores[:, 0].mean():.4f}", f"{scores[:, 0].min():.3f}", f"{scores[:, 1].mean():.2f}"


def lung_cases(folder: Path, part: str) -> list[tuple[Volume, Volume]]:
    images = sorted((folder / part / "images").glob("*.nrrd"))
    if not images:
        raise LeftOut(f"there are no radiographs in {folder / part}: make them with "
                      "Resources/Training/chest_xray_cases.py")
    return [(read_volume(path), read_volume(folder / part / "labels" / path.name)) for path in images]


def measure(data: Path | None, folder: Path, count: int, device: str) -> list[Entry]:
    cases = lung_cases(folder, "test")
    chosen = [cases[number] for number in np.linspace(0, len(cases) - 1, min(count, len(cases))).astype(int)]
    shapes = folder.with_name(f"{folder.name}.shapes.npz")
    save_shapes(fit_shapes([labels for _, labels in lung_cases(folder, "train")], {1: "lungs"}), shapes)
    rows, entries = [], []
    for title, (suffix, role) in MODELS.items():
        model = load_model(folder.with_name(f"{folder.name}{suffix}.safetensors"))
        refuse_test_subjects(model, [image.name for image, _ in chosen])
        steps = {"CRF": "crf", "shape": f"shape={shapes}"}
        new, more = compared(f"lungs, {title}", model, role, chosen, steps, device)
        rows, entries = rows + new, entries + more
    print_table(f"Lungs of {len(chosen)} real chest radiographs", HEADER, rows)
    image = read_volume(existing_folder(data, "brain_multicontrast", PATIENT) / "T2.nii.gz")
    labels = RUNS / "tissue" / PATIENT / "tissue.nii.gz"
    if not labels.is_file():
        raise LeftOut(f"the tissue labels {labels} are missing: make them with Resources/Training/tissue_labels.py")
    model, reference = load_model(TISSUE), resample(read_volume(labels), image.grid, "nearest", fill=0)
    refuse_test_subjects(model, (PATIENT,))
    role = model.card.inputs[0].name
    rows, more = compared("tissue of T2", model, role, [(image, reference)], {"CRF": "crf"}, device)
    print_table(f"Tissue of {PATIENT}", HEADER, rows)
    return entries + more


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--cases", type=Path, default=RUNS / LUNGS, metavar="DIR")
    arguments.add_argument("--count", type=int, default=46, help="test radiographs, evenly spread")
    chosen = arguments.parse_args()
    sys.exit(run(lambda: measure(chosen.data, chosen.cases, chosen.count, chosen.device)))
