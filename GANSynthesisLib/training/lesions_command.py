"""`python -m GANSynthesisLib lesions`: training patches cut around the labels of volumes."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = """\
Cut patches around lesions, as training data for generators and classifiers. --data is a folder with the subfolders
image and labels, or a CSV manifest with columns of these names, and optionally subject and class. Every connected
part of a label is a lesion; the class of its patches is that of the case where the data say one, else the name of the
label. The result has a folder per class and subject, image/CLASS/SUBJECT/, and the masks in labels/, for

  train dcgan --data PATCHES --settings context=3D patch=32,32,32 classes=CLASS …
  train cgan --data PATCHES --settings context=3D patch=32,32,32 conditioning=class,labels …"""


def register(commands) -> None:
    """Add the command to the subparsers of the command line."""
    command = commands.add_parser(
        "lesions", help="cut training patches around the labels of volumes", description=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("--data", type=Path, required=True, metavar="CASES")
    command.add_argument("--output", type=Path, required=True, metavar="DIR", help="a new folder for the patches")
    command.add_argument("--size", type=int, nargs=3, default=(32, 32, 32), metavar=("DEPTH", "ROWS", "COLUMNS"),
                         help="voxels of a patch; a depth of 1 gives single slices")
    command.add_argument("--spacing", type=float, default=0.0, metavar="MM",
                         help="size of a voxel; 0 scales every lesion to the patch")
    command.add_argument("--margin", type=float, default=0.5,
                         help="what is added around a lesion that is scaled, as a fraction of its extent")
    command.add_argument("--jitter", type=float, default=0.1,
                         help="random shift of copies, as a fraction of the patch")
    command.add_argument("--copies", type=int, default=4, help="patches of each lesion")
    command.add_argument("--smallest", type=float, default=3.0, metavar="MM",
                         help="diameter below which lesions are left out")
    command.add_argument("--seed", type=int, default=0)
    command.set_defaults(run=_run)


def _run(arguments) -> int:
    from GANSynthesisLib.training.lesions import PatchPlan, write_patches

    plan = PatchPlan(tuple(arguments.size), arguments.spacing, arguments.margin, arguments.jitter, arguments.copies,
                     arguments.smallest)
    counts = write_patches(arguments.data, arguments.output, plan, arguments.seed)
    told = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    print(f"wrote {counts.total()} patches to {arguments.output} ({told})")
    return 0
