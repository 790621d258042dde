"""The command `drr`: a radiograph out of a CT, or training cases out of several."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from GANSynthesisLib.files import ENDINGS, read_volume, replaced_whole, write_json, write_volume
from GANSynthesisLib.radiographs.projection import Projection
from GANSynthesisLib.volumes import Volume, VolumeError

PICTURE = ".png"
HELP = """\
Digitally reconstructed radiographs (DRRs). With one CT and --output FILE, one radiograph; beside it
FILE_labels.seg.nrrd where --labels is given, and FILE_bones where --bones is. With --cases N, --output is a folder
that `train` reads: N radiographs of random poses in source/, the labels as they are seen in labels/, the bones alone
in target/.

Radiographs lie in space as Slicer places those it reads from pictures: columns run to the patient's left."""


def register(commands) -> None:
    """Add `drr` to the commands of the command line."""
    command = commands.add_parser("drr", help="radiographs out of CT", description=HELP,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("ct", nargs="+", metavar="CT", help="CT in Hounsfield units: image file or DICOM folder")
    command.add_argument("--output", type=Path, required=True, metavar="FILE|FOLDER",
                         help=f"{PICTURE} or {', '.join(ENDINGS)}; a folder with --cases")
    command.add_argument("--angles", nargs=3, type=float, default=(0.0, 0.0, 0.0), metavar=("YAW", "PITCH", "ROLL"),
                         help="degrees by which the patient is turned about S, R and A; 90 0 0 is from the side")
    command.add_argument("--labels", nargs="+", action="extend", default=[], metavar="FILE",
                         help="label map of each CT")
    command.add_argument("--structures", nargs="+", action="extend", default=[], metavar="NAME=VALUES",
                         help="what to project of the labels, as lungs=10-14 heart=51; by default every value. "
                              "Later ones cover earlier ones")
    command.add_argument("--bones", action="store_true", help="also the bones alone")
    command.add_argument("--bone-threshold", type=float, default=300.0, metavar="HU",
                         help="HU above which a voxel is bone")
    command.add_argument("--bone-labels", type=_values, default=(), metavar="VALUES",
                         help="values of --labels that are bone, as 25-50,92-115: elsewhere bright voxels are vessels "
                              "with contrast agent")
    command.add_argument("--keep-table", action="store_true", help="project what lies outside of the body, too")
    command.add_argument("--cases", type=int, default=0, metavar="N", help="make N training cases in random poses")
    command.add_argument("--mirror", type=float, default=0.0, metavar="P", help="probability of a mirrored case")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    command.add_argument("--report", type=Path, metavar="FILE.json")
    for field in dataclasses.fields(Projection):
        command.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default,
                             choices=field.metadata["choices"], help=field.metadata["help"])
    command.set_defaults(run=run)


def run(arguments) -> int:
    """Make what the words of the command line ask for. Raises VolumeError, SettingsError, DeviceError."""
    _check(arguments)
    fields = [field.name for field in dataclasses.fields(Projection)]
    projection = Projection(**{name: getattr(arguments, name) for name in fields})
    structures = dict(map(_structure, arguments.structures))
    from GANSynthesisLib.devices import torch_device
    from GANSynthesisLib.radiographs.drr import Patient

    device, cts, patients = torch_device(arguments.device), [], []
    for number, path in enumerate(arguments.ct):
        ct = read_volume(path)
        labels = read_volume(arguments.labels[number]) if arguments.labels else None
        patients.append(Patient.of(
            ct, labels, structures, bones=arguments.bones, bone_threshold=arguments.bone_threshold,
            bone_values=arguments.bone_labels, keep_table=arguments.keep_table, device=device,
        ))
        cts.append(ct)
    report = _report(arguments, cts, projection, patients)
    if arguments.cases:
        from GANSynthesisLib.radiographs.cases import PoseRange, make_cases

        report["cases"] = make_cases(
            patients, arguments.output, arguments.cases, projection, PoseRange(mirror=arguments.mirror),
            arguments.seed,
        )
        print(f"wrote {arguments.cases} cases to {arguments.output}")
        if patients[0].structures:
            print(f"labels=background,{','.join(patients[0].structures)}")
    else:
        report["angles"] = list(arguments.angles)
        _write_one(arguments, patients[0], projection)
    path = arguments.report or (arguments.output / "drr.json" if arguments.cases else None)
    if path:
        write_json(report, path)
    return 0


def _write_one(arguments, patient, projection: Projection) -> None:
    from GANSynthesisLib.radiographs.drr import label_map, picture_volume, radiograph
    from GANSynthesisLib.radiographs.geometry import patient_pose

    seen = radiograph(patient, projection, patient_pose(arguments.angles))
    output, title = arguments.output, f"{patient.name} [synthetic radiograph{{}}]"
    _write(picture_volume(seen.image, projection, title.format("")), output)
    if seen.bones is not None:
        _write(picture_volume(seen.bones, projection, title.format(" of bone")), _beside(output, "bones"))
    if seen.paths is not None:
        names = dict(enumerate(patient.structures, start=1))
        labels = picture_volume(label_map(seen.paths), projection, title.format(", labels"), names)
        _write(labels, _beside(output, "labels", ".seg.nrrd"))


def _write(picture: Volume, path: Path) -> None:
    """A volume with its spacing, or a picture whose 256 grays run from the lowest to the highest value."""
    if path.name.lower().endswith(PICTURE):
        values = picture.voxels[0]
        grays = np.rint((values - values.min()) / max(float(np.ptp(values)), 1e-6) * 255).astype(np.uint8)
        image = sitk.GetImageFromArray(grays)
        image.SetSpacing(picture.spacing[:2])
        with replaced_whole(path) as beside:
            sitk.WriteImage(image, str(beside))
    else:
        write_volume(picture, path)
    print(f"wrote {path}")


def _beside(output: Path, what: str, ending: str | None = None) -> Path:
    own = next(each for each in (*ENDINGS, PICTURE) if output.name.lower().endswith(each))
    return output.with_name(f"{output.name[: -len(own)]}_{what}{ending or own}")


def _report(arguments, cts: list[Volume], projection: Projection, patients) -> dict:
    from GANSynthesisLib.inference.report import NOTICE, volume_hash
    from GANSynthesisLib.radiographs.rendering import WATER
    from GANSynthesisLib.versions import software_versions

    return {
        "notice": NOTICE, "task": "drr",
        "inputs": [{"name": ct.name, "hash": volume_hash(ct), "shape": list(ct.shape),
                    "spacing": [round(value, 4) for value in ct.spacing]} for ct in cts],
        "structures": {name: list(values) for name, values in patients[0].structures.items()},
        "settings": {**dataclasses.asdict(projection), "water_per_mm": WATER, "seed": arguments.seed,
                     "bone_threshold": arguments.bone_threshold, "bone_labels": list(arguments.bone_labels),
                     "keep_table": arguments.keep_table},
        "versions": software_versions(),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def _structure(word: str) -> tuple[str, tuple[int, ...]]:
    """`lungs=10-14,20` as a name and its values."""
    name, _, text = word.partition("=")
    try:
        values = _values(text)
    except ValueError:
        values = ()
    if not (name and values):
        raise VolumeError(f"--structures {word}: expected NAME=VALUES, for instance lungs=10-14 or heart=51.")
    return name, values


def _values(text: str) -> tuple[int, ...]:
    """`10-14,20` as label values."""
    values: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        values += range(int(first), int(last or first) + 1)
    return tuple(values)


def _check(arguments) -> None:
    """Raise VolumeError where the words do not fit together."""
    if arguments.cases < 0:
        raise VolumeError(f"--cases is {arguments.cases}: give a number from 1 on, or leave it out.")
    if arguments.labels and len(arguments.labels) != len(arguments.ct):
        raise VolumeError(
            f"There are {len(arguments.ct)} CTs and {len(arguments.labels)} label maps: give one for each CT, in the "
            "same order."
        )
    if (arguments.structures or arguments.bone_labels) and not arguments.labels:
        raise VolumeError("--structures and --bone-labels name parts of --labels: give the label map, too.")
    if arguments.cases:
        return
    if len(arguments.ct) > 1:
        raise VolumeError(f"{len(arguments.ct)} CTs give one radiograph only with --cases N: give one CT.")
    if not arguments.output.name.lower().endswith((*ENDINGS, PICTURE)):
        raise VolumeError(
            f"The radiograph '{arguments.output}' must end in {PICTURE} or one of {', '.join(ENDINGS)}; a folder of "
            "cases needs --cases N."
        )
