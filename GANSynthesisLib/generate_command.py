"""`python -m GANSynthesisLib generate`: images from noise as files that training reads again."""

from __future__ import annotations

import argparse
import csv
import re
from collections.abc import Callable
from pathlib import Path

from GANSynthesisLib.asking import Wish
from GANSynthesisLib.card import Card
from GANSynthesisLib.files import replaced_whole, write_json, write_volume
from GANSynthesisLib.options import UsageError
from GANSynthesisLib.result import Result

FORMATS = ("png", "nrrd", "nii.gz")
MANIFEST, REPORT, SHEET = "labels.csv", "report.json", "sheet.png"

HELP = """\
New images from noise. The folder gets one file for each image, with its class in the name; labels.csv, which
`train --data DIR/labels.csv` reads; report.json; and with --sheet a picture of all. The same seed gives the same
images.

Models of the systems cgan and acgan can be asked for a class, those trained with values for a value; those trained
with masks make images for --mask; infogan has codes. What is not asked for is varied."""


def register(commands, show_progress: Callable[[float, str], None]) -> None:
    """Add the command to the subparsers of the command line."""
    command = commands.add_parser("generate", help="make new images from noise", description=HELP,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("model", metavar="MODEL", help="name of a model, or a model file")
    command.add_argument("--count", type=int, required=True, metavar="N", help="how many images")
    command.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the images")
    command.add_argument("--class", dest="class_name", metavar="CLASS", help="class that all images are of")
    command.add_argument("--value", type=float, metavar="V", help="value that all images are of, in its own unit")
    command.add_argument("--code", type=float, nargs="+", metavar="C",
                         help="of infogan: number of the category, from 0, then continuous codes, -1 to 1")
    command.add_argument("--mask", type=Path, metavar="FILE", help="label volume with the structures of all images")
    command.add_argument("--format", choices=FORMATS, help="default: png for 2D, nrrd for 3D")
    command.add_argument("--sheet", action="store_true", help="also a picture of all images, sheet.png")
    ways = command.add_mutually_exclusive_group()
    ways.add_argument("--interpolate", action="store_const", dest="way", const="interpolate", default="",
                      help="images on the way from one noise vector to another")
    ways.add_argument("--sweep", action="store_const", dest="way", const="sweep",
                      help="of infogan: N images of each category, and N for each continuous code from -1 to 1")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    command.set_defaults(run=lambda arguments: _run(arguments, show_progress))


def _run(arguments, show_progress) -> int:
    from GANSynthesisLib.files import read_volume
    from GANSynthesisLib.models import load_model

    model = load_model(arguments.model)
    Wish(arguments.class_name, arguments.value, arguments.code and tuple(arguments.code)).check(
        model.card, arguments.count)
    ending = _ending(model.card, arguments.format)
    _refuse_used(arguments.output)
    mask = read_volume(arguments.mask) if arguments.mask else None
    from GANSynthesisLib.inference import generate  # torch, once it is clear that there is work

    result = generate(
        model, arguments.count, class_name=arguments.class_name, value=arguments.value, code=arguments.code,
        mask=mask, way=arguments.way, seed=arguments.seed, device=arguments.device, progress=show_progress,
    )
    written = _write(result, model.card, arguments.output, ending)
    if arguments.sheet:
        _write_sheet(result, model.card, arguments.output, arguments.count if arguments.way == "sweep" else 0)
    print(f"wrote {len(written)} images and {MANIFEST} to {arguments.output}")
    return 0


def _ending(card: Card, wanted: str | None) -> str:
    if wanted == "png" and card.context == "3D":
        raise UsageError(f"The model '{card.name}' makes 3D patches, which a PNG cannot hold: give --format nrrd.")
    return wanted or ("nrrd" if card.context == "3D" else "png")


def _refuse_used(folder: Path) -> None:
    """Raise UsageError unless nothing of the folder would be overwritten or taken for one of the new images."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--output {folder} is a file: give a folder.")
    used = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    if used:
        raise UsageError(f"The folder {folder} is not empty (it has {used[0]}): give a new or an empty one.")


def _write(result: Result, card: Card, folder: Path, ending: str) -> list[str]:
    """The files, and which of them shows what."""
    from GANSynthesisLib.pictures import write_picture

    folder.mkdir(parents=True, exist_ok=True)
    port, digits = card.output("image"), len(str(len(result.outputs)))
    rows = []
    for number, (output, volume) in enumerate(result.outputs.items(), start=1):
        told = result.report["images"][output]
        stem = "_".join(text for text in (card.name, _as_name(told.get("class", "")), f"{number:0{digits}d}") if text)
        path = folder / f"{stem}.{ending}"
        if ending == "png":
            write_picture(volume, port, path)
        else:
            write_volume(volume, path)
        code = " ".join(f"{each:g}" for each in told.get("code", ()))
        rows.append({"image": path.name, "class": told.get("class", ""), "value": told.get("value", ""), "code": code})
    used = [column for column in ("image", "class", "value", "code") if any(row[column] != "" for row in rows)]
    with replaced_whole(folder / MANIFEST) as beside, beside.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, used, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    write_json(result.report, folder / REPORT)
    return [row["image"] for row in rows]


def _as_name(class_name: str) -> str:
    """Text as a part of a file name on any system."""
    return re.sub(r"[^A-Za-z0-9.+-]+", "-", class_name).strip("-.")


def _write_sheet(result: Result, card: Card, folder: Path, columns: int) -> None:
    from GANSynthesisLib.pictures import gray_levels, write_sheet

    port, told = card.output("image"), result.report["images"].values()
    titles = [" ".join(str(part) for part in (
        each.get("class", ""), f"{each['value']:.3g}" if "value" in each else "",
        " ".join(f"{code:.2g}" for code in each.get("code", ())),
    ) if part) for each in told]
    write_sheet([gray_levels(volume, port) for volume in result.outputs.values()], titles, folder / SHEET, columns)
