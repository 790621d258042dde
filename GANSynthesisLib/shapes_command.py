"""The command `shapes`: a model of shapes out of label maps, for `apply --refine shape=FILE`."""

from __future__ import annotations

from pathlib import Path

from GANSynthesisLib.options import UsageError

ENDING = ".npz"


def register(commands) -> None:
    """Add `shapes` to the commands of the command line."""
    command = commands.add_parser("shapes", help="a model of shapes out of label maps, to refine segmentations with")
    command.add_argument("labels", nargs="+", type=Path, metavar="FILE",
                         help="label map of each case, the same structures in all")
    command.add_argument("--names", nargs="+", action="extend", required=True, metavar="NAME",
                         help="names of the label values 1, 2, … as the model to be refined calls them")
    command.add_argument("--output", type=Path, required=True, metavar=f"FILE{ENDING}")
    command.set_defaults(run=run)


def run(arguments) -> int:
    """Raises VolumeError, UsageError."""
    from GANSynthesisLib.files import read_volume
    from GANSynthesisLib.inference.shapes import fit_shapes, save_shapes

    if arguments.output.suffix != ENDING:
        raise UsageError(f"The output {arguments.output} must end in {ENDING}.")
    names = dict(enumerate(arguments.names, start=1))
    shapes = fit_shapes([read_volume(path) for path in arguments.labels], names)
    save_shapes(shapes, arguments.output)
    print(f"wrote {arguments.output}: {len(shapes.modes)} modes of {len(arguments.labels)} label maps")
    return 0
