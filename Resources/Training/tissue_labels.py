"""Tissue labels of skull-stripped T1 brains: the labels that the segmentation loss learns from.

    python Resources/Training/tissue_labels.py --data DIR --output DIR [--patients NAME …]

Bias correction (N4, Tustison 2010), then a three-class Gaussian mixture with a Markov random field (Atropos, Avants
2011), both of antspyx. Writes NAME/tissue.nii.gz with 1 cerebrospinal fluid, 2 gray matter, 3 white matter. They are a
method's output, not a reader's: good enough to compare segmentors with each other, not to judge one absolutely.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import ants
import numpy as np

PATIENTS = ("ms_patient07", "ms_patient26")


def tissue_labels(t1: ants.ANTsImage) -> ants.ANTsImage:
    """Labels 0 background, 1 CSF, 2 gray matter, 3 white matter, in the order of T1 intensity."""
    mask = ants.get_mask(t1, low_thresh=1e-6, cleanup=0)
    inside = t1.numpy()[mask.numpy() > 0]
    # A few bright vessel voxels would otherwise take a class of their own.
    t1 = t1.new_image_like(np.clip(t1.numpy(), 0, np.percentile(inside, 99)))
    corrected = ants.n4_bias_field_correction(t1, mask=mask, shrink_factor=3)
    found = ants.atropos(a=corrected, x=mask, i="KMeans[3]", m="[0.2,1x1x1]", c="[8,0.001]")
    return found["segmentation"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--patients", nargs="*", default=PATIENTS)
    arguments = parser.parse_args()
    for name in arguments.patients:
        folder = arguments.output / name
        folder.mkdir(parents=True, exist_ok=True)
        labels = tissue_labels(ants.image_read(str(arguments.data / name / "T1.nii.gz")))
        ants.image_write(labels.astype("uint8"), str(folder / "tissue.nii.gz"))
        counts = [int((labels.numpy() == value).sum()) for value in (1, 2, 3)]
        print(f"{name}: CSF {counts[0]}, gray matter {counts[1]}, white matter {counts[2]} voxels", flush=True)


if __name__ == "__main__":
    main()
