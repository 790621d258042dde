"""Training cases: which files belong together, and which subject they come from."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")
IMAGE_SUFFIXES = (*SUFFIXES, ".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
CONDITIONS = ("class", "value")  # roles that are no files: what a case is said to be


class DataError(ValueError):
    """Training data that cannot be used; the message names the folder or file, the problem and the remedy."""


@dataclass(frozen=True)
class Case:
    """Files of one examination by role; cases of one `subject` never lie on both sides of a split.

    class_name: what it shows (`benign`), empty where that is not said. value: a number that goes with it (the level of
    a slice, an age), None where there is none.
    """

    name: str
    subject: str
    files: dict[str, Path]
    class_name: str = ""
    value: float | None = None

    @property
    def roles(self) -> set[str]:
        """Everything that is known of it: roles of its files, and `class` and `value`."""
        said = {"class": bool(self.class_name), "value": self.value is not None}
        return {*self.files, *(role for role, known in said.items() if known)}


def stem(path: Path) -> str:
    for suffix in (".seg.nrrd", *IMAGE_SUFFIXES):
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.name


def subject_of(name: str) -> str:
    """`sub-01` of a BIDS name (`sub-01_ses-2_T1w`), else the whole stem is the subject."""
    found = re.match(r"sub-[A-Za-z0-9]+", name)
    return found.group(0) if found else name


def find_cases(
    data: Path, roles: tuple[str, ...], optional: tuple[str, ...] = (), paired: bool = True, advice: str = ""
) -> list[Case]:
    """Cases of a folder with one subfolder per role (`source`, or `source_images`), or of a CSV manifest.

    Files of the same stem belong together. Images alone may lie in the folder itself, or in one folder per class,
    `CLASS/NAME.png`, or per class and patient, `CLASS/PATIENT/NAME.png`. A manifest has one column per role with paths
    relative to it, and may have the columns `subject`, `name`, `class` and `value`. Raises DataError: nothing there, a
    role without files, a class without images, no case that has every role.
    """
    cases = list_cases(data, roles, optional)
    if "class" in roles:
        _refuse_empty_classes(Path(data))
    for role in roles:
        if not any(role in case.roles for case in cases):
            raise DataError(_nothing_for(role, data, advice))
    if paired:
        whole = [case for case in cases if case.roles.issuperset(roles)]
        if not whole:
            raise DataError(
                f"No case in {data} has all of {', '.join(roles)}: files that belong together need the same name "
                "in every subfolder; for images that do not belong together choose an unpaired system (cyclegan)."
            )
        cases = whole
    return sorted(cases, key=lambda case: case.name)


def _nothing_for(role: str, data: Path, advice: str) -> str:
    if role == "class":
        return (f"{data} does not say of which class an image is: put the images of each class into a folder of its "
                "name, or give a CSV manifest with a column 'class'.")
    if role == "value":
        return f"{data} gives no image a value: give a CSV manifest with a column 'value'."
    hint = f" ({advice})" if advice else ""
    return f"{data} has no files for the role '{role}': add a subfolder or column of that name{hint}."


def _refuse_empty_classes(data: Path) -> None:
    folder = role_folder(data, "image") or data
    for place in sorted(folder.iterdir()) if folder.is_dir() else ():
        if place.is_dir() and not place.name.startswith(".") and not any(_images_in(place)):
            raise DataError(f"The folder '{place.name}' in {folder} should hold the images of a class and has none: "
                            "add some, or remove the folder.")


def list_cases(data: Path, roles: tuple[str, ...], optional: tuple[str, ...] = ()) -> list[Case]:
    """All cases of a folder or manifest (see `find_cases`), also those that lack a role. Raises DataError: not there,
    or a manifest that cannot be read."""
    data = Path(data)
    if data.is_file():
        return _manifest_cases(data, roles, optional)
    if data.is_dir():
        return _folder_cases(data, roles, optional)
    raise DataError(f"There is no folder or manifest {data}: give a folder with the subfolders {', '.join(roles)}.")


def role_folder(data: Path, role: str) -> Path | None:
    """The subfolder with the images of a role, which may be called `role`, `role_images` or `roles`."""
    return next((data / name for name in (role, f"{role}_images", f"{role}s") if (data / name).is_dir()), None)


def _images_in(folder: Path) -> Iterator[Path]:
    found = (path for path in sorted(folder.rglob("*")) if path.name.lower().endswith(IMAGE_SUFFIXES))
    return (path for path in found if path.is_file())


def _folder_cases(data: Path, roles, optional) -> list[Case]:
    files: dict[str, dict[str, Path]] = {}
    wanted = [role for role in (*roles, *optional) if role not in CONDITIONS]
    for role in wanted:
        folder = role_folder(data, role)
        if folder is None and wanted == ["image"]:
            folder = data
        if folder is None:
            continue
        for path in _images_in(folder):
            # Stems of nested folders (one per class, say) may repeat: the relative folder is part of the name.
            name = "/".join((*path.relative_to(folder).parts[:-1], stem(path)))
            files.setdefault(name, {})[role] = path
    return [_nested_case(name, found) for name, found in files.items()]


def _nested_case(name: str, files: dict[str, Path]) -> Case:
    """The case of `[CLASS/[PATIENT/…]]STEM`."""
    *folders, last = name.split("/")
    subject = folders[1] if len(folders) > 1 else subject_of(last)
    return Case(name, name if subject == last else subject, files, folders[0] if folders else "")


def _manifest_cases(manifest: Path, roles, optional) -> list[Case]:
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{manifest} is not a CSV manifest: give a text file with one column per role.") from error
    cases = []
    for number, row in enumerate(rows, start=2):
        found = {}
        for role in (*roles, *optional):
            if role not in CONDITIONS and row.get(role):
                path = (manifest.parent / row[role]).resolve()
                if not path.exists():
                    raise DataError(
                        f"{manifest} line {number} names {row[role]}, which does not exist: mend the path."
                    )
                found[role] = path
        first = next((stem(path) for path in found.values()), "")
        name = row.get("name") or f"{number - 2:04d}"
        subject = row.get("subject") or subject_of(row.get("name") or first or name)
        value = _number(row.get("value") or "", f"{manifest} line {number}")
        cases.append(Case(name, subject, found, (row.get("class") or "").strip(), value))
    return cases


def _number(text: str, where: str) -> float | None:
    try:
        value = float(text) if text.strip() else None
    except ValueError:
        value = math.nan
    if value is not None and not math.isfinite(value):
        raise DataError(f"{where} gives the value '{text}', which is no number: write a number, or leave it empty.")
    return value


def split_subjects(cases: list[Case], fraction: float, seed: int) -> tuple[list[Case], list[Case]]:
    """Training and validation cases, by subject, of each class the same part; validation is empty where there are too
    few subjects to spare one."""
    import random

    drawing, chosen = random.Random(seed), set()
    class_of: dict[str, str] = {}
    for case in cases:
        class_of[case.subject] = min(case.class_name, class_of.get(case.subject, case.class_name))
    for class_name in sorted(set(class_of.values())):
        subjects = sorted(subject for subject, its_class in class_of.items() if its_class == class_name)
        count = min(round(len(subjects) * fraction), len(subjects) - 1)
        chosen |= set(drawing.sample(subjects, count)) if count > 0 else set()
    return [c for c in cases if c.subject not in chosen], [c for c in cases if c.subject in chosen]
