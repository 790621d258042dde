"""Training cases: which files belong together, and which subject they come from."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")
IMAGE_SUFFIXES = (*SUFFIXES, ".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


class DataError(ValueError):
    """Training data that cannot be used; the message names the folder or file, the problem and the remedy."""


@dataclass(frozen=True)
class Case:
    """Files of one examination by role; cases of one `subject` never lie on both sides of a split."""

    name: str
    subject: str
    files: dict[str, Path]


def stem(path: Path) -> str:
    for suffix in IMAGE_SUFFIXES:
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

    Files of the same stem belong together. A manifest has one column per role with paths relative to it, and may have
    `subject` and `name` columns. Raises DataError: nothing there, a role without files, no case that has every role.
    """
    cases = list_cases(data, roles, optional)
    for role in roles:
        if not any(role in case.files for case in cases):
            hint = f" ({advice})" if advice else ""
            raise DataError(
                f"{data} has no files for the role '{role}': add a subfolder or column of that name{hint}."
            )
    if paired:
        whole = [case for case in cases if all(role in case.files for role in roles)]
        if not whole:
            raise DataError(
                f"No case in {data} has all of {', '.join(roles)}: files that belong together need the same name "
                "in every subfolder; for images that do not belong together choose an unpaired system (cyclegan)."
            )
        cases = whole
    return sorted(cases, key=lambda case: case.name)


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


def _folder_cases(data: Path, roles, optional) -> list[Case]:
    files: dict[str, dict[str, Path]] = {}
    for role in (*roles, *optional):
        folder = role_folder(data, role)
        if folder is None and tuple(roles) == ("image",):
            folder = data
        if folder is None:
            continue
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.name.lower().endswith(IMAGE_SUFFIXES):
                # Stems of nested folders (one per class, say) may repeat: the relative folder is part of the name.
                name = "/".join((*path.relative_to(folder).parts[:-1], stem(path)))
                files.setdefault(name, {})[role] = path
    return [Case(name, subject_of(name), found) for name, found in files.items()]


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
            if row.get(role):
                path = (manifest.parent / row[role]).resolve()
                if not path.exists():
                    raise DataError(
                        f"{manifest} line {number} names {row[role]}, which does not exist: mend the path."
                    )
                found[role] = path
        first = next((stem(path) for path in found.values()), "")
        name = row.get("name") or f"{number - 2:04d}"
        cases.append(Case(name, row.get("subject") or subject_of(row.get("name") or first or name), found))
    return cases


def split_subjects(cases: list[Case], fraction: float, seed: int) -> tuple[list[Case], list[Case]]:
    """Training and validation cases, by subject; validation is empty where there are too few subjects to spare one."""
    import random

    subjects = sorted({case.subject for case in cases})
    count = min(round(len(subjects) * fraction), len(subjects) - 1)
    chosen = set(random.Random(seed).sample(subjects, count)) if count > 0 else set()
    return [c for c in cases if c.subject not in chosen], [c for c in cases if c.subject in chosen]
