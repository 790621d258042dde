"""Run every benchmark that has what it needs, and write the numbers to bench.json.

    python Testing/Benchmarks/bench.py [--data DIR] [--labels DIR] [--output bench.json]

BENCH=full in the environment adds those that take very long.

bench.json is a list of entries: name, ours, peer, ratio (ours / peer), unit, note. The note names the peer and says
whether higher or lower is better. What was left out, and why, is said at the end. The scripts beside this one run one
benchmark alone, and take other models.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import any_contrast
import between_patients
import brain_registration
import geometry
import growth
import inference
import lobes_without_labels
import mr_trus
import panel
import radiographs
import reconstruction
import segmentation_loss
import side_by_side
import synthesis
import synthesis_registration
import training
from command import REFUSALS, ROOT, parser

from GANSynthesisLib.files import write_json


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--labels", type=Path, metavar="DIR",
                           help="folder of PATIENT/tissue.nii.gz (default: runs/tissue)")
    arguments.add_argument("--output", type=Path, default=ROOT / "bench.json", metavar="FILE")
    chosen = arguments.parse_args()
    data, device = chosen.data, chosen.device
    benchmarks = {
        "synthesis": lambda: synthesis.measure(data, device=device),
        "missing contrast": lambda: any_contrast.measure(data, device=device),
        "segmentation loss": lambda: segmentation_loss.measure(data, chosen.labels, device=device),
        "side by side": lambda: side_by_side.measure(data, device=device),
        "lobes without labels": lambda: lobes_without_labels.measure(data, device=device),
        "brain registration": lambda: brain_registration.measure(data, device=device),
        "between patients": lambda: between_patients.measure(data, chosen.labels, device=device),
        "MR to ultrasound": lambda: mr_trus.measure(data, device=device),
        "radiographs": lambda: radiographs.measure(device=device),
        "reconstruction": lambda: reconstruction.measure(data, device=device),
        "geometry": lambda: geometry.measure(device=device),
        "inference": inference.measure,
        "panel": panel.measure,
        "training": training.measure,
    }
    if os.environ.get("BENCH") == "full":
        benchmarks["side by side"] = lambda: side_by_side.trained_and_measured(data, device=device)
        benchmarks["lobes without labels"] = lambda: lobes_without_labels.trained_and_measured(data, device=device)
        benchmarks["growth"] = growth.measure
        benchmarks["registration by translation"] = lambda: synthesis_registration.measure(data, device=device)
    entries, missing = [], {}
    for name, measure in benchmarks.items():
        print(f"measuring: {name}", file=sys.stderr, flush=True)
        try:
            entries += measure()
        except REFUSALS as error:
            missing[name] = error
    write_json([entry.as_dict() for entry in entries], chosen.output)
    print(f"\nwrote {len(entries)} numbers to {chosen.output}")
    for name, reason in missing.items():
        print(f"left out: {name}: {reason}")
    return 0 if entries else 2


if __name__ == "__main__":
    sys.exit(main())
