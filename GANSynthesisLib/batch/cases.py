"""Which images of a folder belong together as one case, and what a model is to make of each."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from GANSynthesisLib.card import Card, ModelError
from GANSynthesisLib.dicom import is_dicom
from GANSynthesisLib.files import ENDINGS
from GANSynthesisLib.presentation import output_ports
from GANSynthesisLib.steps import run_through
from GANSynthesisLib.training.cases import role_folder

STEP = 100  # cases or files that are looked at in one step
SNIFFED = 5  # files of a folder that are looked at to find out whether it holds DICOM slices


class BatchError(ValueError):
    """A batch cannot be run; the message names the folder, the problem and the remedy."""


@dataclass(frozen=True)
class BatchCase:
    """Images of one case: role -> image file or folder of a DICOM series.

    problem: one sentence on why the case cannot be run; empty where it can.
    """

    name: str
    files: dict[str, Path]
    problem: str = ""


def wanted_outputs(card: Card, outputs: Sequence[str] | None = None) -> tuple[str, ...]:
    """Names of the outputs to make of every case, by default those of the model's task.

    Of a registration these are the transform and the warped image. Raises ModelError: no such output, or a model that
    takes no images.
    """
    if card.task == "generate":
        raise ModelError(f"The model '{card.name}' makes images from noise, so there are no cases to apply it to.")
    if outputs:
        return tuple(dict.fromkeys(card.output(name).name for name in outputs))
    names = [port.name for port in output_ports(card, card.task)]
    main = [name for name in names if card.task != "register" or name in ("transform", "warped")]
    return tuple(main or names)


def needed_roles(card: Card, outputs: Sequence[str]) -> tuple[str, ...]:
    """Inputs that a case must have for these outputs; what is an output itself is computed and not asked for."""
    needed = {role for name in outputs for role in card.output(name).needs} - set(outputs)
    return tuple(port.name for port in card.inputs if (port.name in needed if needed else not port.optional))


def find_batch_cases(card: Card, folder, outputs: Sequence[str] | None = None) -> list[BatchCase]:
    """The cases in `folder`, by name. Images are NIfTI, NRRD and MetaImage files and folders of one DICOM series.

    Where there is a subfolder per role (`fixed` and `moving`, or `fixed_images`, `moving_images`), images of the same
    name in them are one case. Else, for a model with one input, every image is a case. Else every subfolder is a case
    and has one image named after each role. A case that lacks an image or has two for one role is listed with its
    problem. Raises BatchError where nothing is found, ModelError as `wanted_outputs`.
    """
    return run_through(finding_batch_cases(card, folder, outputs))


def finding_batch_cases(
    card: Card, folder, outputs: Sequence[str] | None = None
) -> Generator[None, None, list[BatchCase]]:
    """The same in steps of `STEP` files, for those who must not wait."""
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise BatchError(f"There is no input folder {folder}: give the folder that holds the cases.")
    roles = needed_roles(card, wanted_outputs(card, outputs))
    folders = {role: found for role in roles if (found := role_folder(folder, role))}
    if folders and len(folders) < len(roles):
        missing = next(role for role in roles if role not in folders)
        raise BatchError(f"The folder {folder} has a subfolder for {next(iter(folders))} but none for {missing}: "
                         f"add the subfolder '{missing}' with images of the same names.")
    found = (yield from _cases_of_role_folders(folders)) if folders else {}
    if not folders and len(roles) == 1:
        found = {name: {roles[0]: images} for name, images in (yield from _images(folder)).items()}
    if not folders and not found:
        found = yield from _cases_of_case_folders(folder, roles)
    if not found:
        raise BatchError(f"The folder {folder} has no cases for the model '{card.name}': {_layouts(roles)}.")
    return [_case(name, roles, found[name]) for name in sorted(found)]


def _cases_of_role_folders(folders: dict[str, Path]):
    found: dict[str, dict[str, list[Path]]] = {}
    for role, folder in folders.items():
        for name, images in (yield from _images(folder)).items():
            found.setdefault(name, {})[role] = images
    return found


def _cases_of_case_folders(folder: Path, roles: Sequence[str]):
    found = {}
    for number, path in enumerate(sorted(folder.iterdir()), start=1):
        if path.is_dir() and not path.name.startswith("."):
            images = {role: files for role, files in (yield from _images(path)).items() if role in roles}
            if images:
                found[path.name] = images
        if number % STEP == 0:
            yield
    return found


def _images(folder: Path) -> Generator[None, None, dict[str, list[Path]]]:
    """Name without ending -> images directly in the folder: one, unless two files differ in nothing but the ending."""
    found: dict[str, list[Path]] = {}
    with os.scandir(folder) as listing:
        entries = sorted(listing, key=lambda entry: entry.name)
    for number, entry in enumerate(entries, start=1):
        if not entry.name.startswith("."):
            ending = next((each for each in ENDINGS if entry.name.lower().endswith(each)), "")
            if entry.is_dir() and _holds_dicom(folder / entry.name):
                found.setdefault(entry.name, []).append(folder / entry.name)
            elif ending and entry.is_file():
                found.setdefault(entry.name[: -len(ending)], []).append(folder / entry.name)
        if number % STEP == 0:
            yield
    return found


def _holds_dicom(folder: Path) -> bool:
    files = (path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith("."))
    return any(is_dicom(path) for path in islice(files, SNIFFED))


def _case(name: str, roles: Sequence[str], images: dict[str, list[Path]]) -> BatchCase:
    problem = ""
    for role in roles:
        if role not in images:
            problem = f"The case '{name}' has no {role} image: add one under that name."
        elif len(images[role]) > 1:
            names = " and ".join(path.name for path in images[role])
            problem = f"The case '{name}' has more than one {role} image ({names}): keep one of them."
    return BatchCase(name, {role: images[role][0] for role in roles if role in images}, problem)


def _layouts(roles: Sequence[str]) -> str:
    named = " and ".join(f"'{role}'" for role in roles)
    if len(roles) == 1:
        return ("put images (NIfTI, NRRD, MetaImage, or one subfolder per DICOM series) into it or into its subfolder "
                f"{named}")
    return (f"it needs the subfolders {named} with images of the same names, or one subfolder per case with images "
            f"named {named}")
