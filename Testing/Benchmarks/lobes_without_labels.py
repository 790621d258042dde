"""The five lobes of the lung on MR, learned from the labels of a CT: no label of an MR is used.

    python Testing/Benchmarks/lobes_without_labels.py --train [--steps 600]
    python Testing/Benchmarks/lobes_without_labels.py

The first command trains what is missing in runs/lobes-without-labels (10 minutes of one core), as BENCH=full does;
the second measures. Rows: a segmentor trained on the CT and applied to MR as it is, the peer; SynSeg-Net (Huo 2018),
translation and segmentor end to end; the same in two stages, a CycleGAN and then a segmentor of what it made of the
CT; shape consistency (Zhang 2018) with labels of the CT alone; and, as what can be reached, a segmentor trained on the
labels of the two MR that teach. All segmentors are one network and take the same steps.

Data: one chest CT with labels 10 to 14, and three chest MR (`organs_ct_mr`). Two MR are shown without their labels,
the third to no method. Coronal slices of 4 mm; of the 500 mm that the MR show, those 332 mm are kept that the CT has,
at the same place in all three. A left lobe is not a right lobe mirrored: patches are not flipped (`augment` 0).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from command import ROOT, RUNS, Entry, LeftOut, existing_folder, parser, print_table, run
from side_by_side_recipes import SHARED, TRANSLATES, WITH_EDGES

from GANSynthesisLib.evaluation import dice
from GANSynthesisLib.files import read_volume, write_volume
from GANSynthesisLib.inference import apply_model
from GANSynthesisLib.models import load_model
from GANSynthesisLib.volumes import Volume, body_mask, resample

sys.path.append(str(ROOT / "Resources" / "Training"))

from training_script import show_progress, train_in_runs, write_manifest  # noqa: E402

FOLDER = RUNS / "lobes-without-labels"
STEPS = 600
LOBES = ("left upper", "left lower", "right upper", "right middle", "right lower")
CT_VALUES, MR_VALUES = (10, 11, 12, 13, 14), (2, 1, 5, 4, 3)  # of these lobes
TAUGHT, TEST = ("0004", "0006"), "0007"
SPACING = 4.0  # mm
MR_ROWS = slice(14, 97)  # of the 125 from below, as many as the CT has
PATCH = "96,96"
SETTINGS = {"patch": PATCH, "augment": 0, "labels": ("background", *LOBES)}
SEGMENTS = {**SHARED, **SETTINGS, "learning_rate": 1e-3, "augment_intensity": 0.3, "modality": "MR"}
UNPAIRED = {**TRANSLATES, **SETTINGS, "modality": "CT", "target_modality": "MR"}


@dataclass(frozen=True, eq=False)
class Chest:
    """Image in percent and lobes 1 to 5 of a chest, in coronal slices: (K, J, I) run to A, S and R."""

    name: str
    image: Volume
    lobes: Volume


def read_chest(image: Path, labels: Path, values: Sequence[int], low: float, high: float | None, rows=slice(None)
               ) -> Chest:
    """high: what becomes 100 %; None takes the 99th percentile of the body. Raises LeftOut where a file is missing."""
    for path in (image, labels):
        if not path.is_file():
            raise LeftOut(f"the image {path} is missing")
    volume, given = read_volume(image), read_volume(labels)
    body = body_mask(volume)
    top = float(np.percentile(volume.voxels[body], 99)) if high is None else high
    grid = volume.canonical().grid.with_spacing((SPACING,) * 3)
    inside = resample(volume.with_voxels(body.astype(np.float32)), grid, fill=0).voxels > 0.5
    percent = np.clip((resample(volume, grid).voxels - low) * (100 / (top - low)), 1, 100)
    found, lobes = resample(given, grid, "nearest", fill=0).voxels, np.zeros(grid.shape, np.uint8)
    for value, theirs in enumerate(values, start=1):
        lobes[found == theirs] = value
    return Chest(image.stem, _coronal(np.where(inside, percent, 0).astype(np.float32), rows), _coronal(lobes, rows))


def _coronal(voxels: np.ndarray, rows: slice) -> Volume:
    """Slices from posterior to anterior, each as if it were an axial one: the systems work on axial slices."""
    return Volume(np.ascontiguousarray(voxels[rows].transpose(1, 0, 2)), np.diag([SPACING, SPACING, SPACING, 1]))


def read_chests(data: Path | None) -> tuple[Chest, dict[str, Chest]]:
    """The CT, and the MR by name."""
    folder = existing_folder(data, "organs_ct_mr")
    ct = read_chest(folder / "chest_ct" / "ct.nii.gz", folder / "chest_ct" / "labels_117.nii.gz", CT_VALUES,
                    -1024, 300)
    mr = folder / "chest_mr_lobes"
    return ct, {name: read_chest(mr / f"{name}H1.nii.gz", mr / f"{name}Lobes.nii.gz", MR_VALUES, 0, None, MR_ROWS)
                for name in (*TAUGHT, TEST)}


def model_file(name: str) -> Path:
    return FOLDER / f"{name}.safetensors"


def rows_of(chest: Chest, kind: str, roles: dict[str, Volume]) -> list[dict]:
    """Files of all slices that show some of the body, and their rows of a manifest; kind is part of the file names."""
    folder = FOLDER / "slices"
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for k in np.flatnonzero((chest.image.voxels > 0).mean((1, 2)) > 0.05):
        row = {"name": f"{kind}-{chest.name}_{k:03d}", "subject": chest.name}
        for role, volume in roles.items():
            row[role] = folder / f"{row['name']}_{role}.nii.gz"
            write_volume(volume.with_voxels(volume.voxels[k : k + 1]), row[role])
        rows.append(row)
    return rows


def train_missing(data: Path | None, steps: int = STEPS, device: str = "auto") -> None:
    ct, mr = read_chests(data)
    taught = [mr[name] for name in TAUGHT]
    labeled = rows_of(ct, "ct", {"source": ct.image, "labels": ct.lobes})
    unlabeled = [row for each in taught for row in rows_of(each, "mr", {"target": each.image})]
    supervised = [row for each in taught
                  for row in rows_of(each, "lobes", {"source": each.image, "labels": each.lobes})]
    plain = {name: value for name, value in UNPAIRED.items() if name != "labels"}
    _train("on-ct", "segmentor", SEGMENTS | {"modality": "CT"}, labeled, steps)
    _train("end-to-end", "cyclegan", {**UNPAIRED, "segmentation_weight": 1}, labeled + unlabeled, steps)
    _train("translator", "cyclegan", plain, labeled + unlabeled, steps)
    made = ct.image.with_voxels(translated(ct, device))
    _train("two-stage", "segmentor", SEGMENTS, rows_of(ct, "made", {"source": made, "labels": ct.lobes}), steps)
    _train("supervised", "segmentor", SEGMENTS, supervised, steps)
    _train("shape-consistency", "shape_consistency",
           {**UNPAIRED, "target_labeled": False, "segmentor_warmup": 100}, labeled + unlabeled, steps)


def _train(name: str, system: str, settings: dict, rows: list[dict], steps: int) -> None:
    output = model_file(name)
    if output.exists():
        return
    print(f"\ntraining {name}: {steps} steps", flush=True)
    parts = WITH_EDGES if system != "segmentor" else ((1.0, {}),)
    runs = [(max(1, round(part * steps)), dict(changes)) for part, changes in parts]
    card = {"name": f"lobes-{name}", "licence": "not for distribution"}
    arguments = argparse.Namespace(output=output, steps=0, resume=True, progress=show_progress)
    train_in_runs(arguments, system, write_manifest(output, rows), settings, runs, card)


def translated(ct: Chest, device: str) -> np.ndarray:
    """(K, J, I) in percent: what the CycleGAN without a segmentor makes of the CT."""
    model = load_model(model_file("translator"))
    made = apply_model(model, {"source": ct.image}, outputs=["target"], device=device).outputs["target"].voxels
    return np.where(ct.image.voxels > 0, np.clip(made, 1, 100), 0).astype(np.float32)


METHODS = {
    "on-ct": "trained on CT, applied to MR", "end-to-end": "end to end (Huo)", "two-stage": "translated, then trained",
    "shape-consistency": "shape consistency (Zhang)", "supervised": "trained on labels of MR",
}


def overlaps(name: str, chest: Chest, device: str) -> np.ndarray:
    """(5,) Dice of the lobes."""
    model = load_model(model_file(name))
    (needed,) = model.card.output("segmentation").needs
    found = apply_model(model, {needed: chest.image}, outputs=["segmentation"], device=device).outputs["segmentation"]
    return np.array(list(dice(found.voxels, chest.lobes.voxels, range(1, len(LOBES) + 1)).values()))


def measure(data: Path | None, device: str = "auto") -> list[Entry]:
    ready = [name for name in METHODS if model_file(name).exists()]
    if "on-ct" not in ready or len(ready) < 2:
        raise LeftOut("there are no segmentors in runs/lobes-without-labels: train them with "
                      "Testing/Benchmarks/lobes_without_labels.py --train (10 minutes of one core)")
    _, mr = read_chests(data)
    found = {name: {who: overlaps(name, chest, device) for who, chest in mr.items()} for name in ready}
    rows = [(METHODS[name], *(f"{value:.3f}" for value in each[TEST]), f"{each[TEST].mean():.3f}",
             *(f"{each[who].mean():.3f}" for who in TAUGHT)) for name, each in found.items()]
    header = ("segmentor", *LOBES, "mean", *(f"mean, {who} (seen)" for who in TAUGHT))
    print_table(f"Dice of the lobes on the MR {TEST}", header, rows)
    peer = found["on-ct"][TEST].mean()
    return [Entry(f"lobes of MR, {METHODS[name]}", each[TEST].mean(), peer, "Dice",
                  "peer: trained on CT, applied to MR; 1 test patient; higher; goal: 0.10 above")
            for name, each in found.items() if name != "on-ct"]


def trained_and_measured(data: Path | None, steps: int = STEPS, device: str = "auto") -> list[Entry]:
    """What --train and BENCH=full run."""
    train_missing(data, steps, device)
    return measure(data, device)


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--train", action="store_true", help="train the models that are missing, first")
    arguments.add_argument("--steps", type=int, default=STEPS)
    chosen = arguments.parse_args()

    if chosen.train or os.environ.get("BENCH") == "full":
        return run(lambda: trained_and_measured(chosen.data, chosen.steps, chosen.device))
    return run(lambda: measure(chosen.data, chosen.device))


if __name__ == "__main__":
    sys.exit(main())
