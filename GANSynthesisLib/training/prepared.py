"""Prepared cases on disk: written once when a run starts and looked at in place, so that memory stays as small with a
thousand cases as with one, and a patch costs reading that patch."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from GANSynthesisLib.systems.base import System
from GANSynthesisLib.training.cases import Case, DataError
from GANSynthesisLib.training.loading import LoadedCase, load_case
from GANSynthesisLib.training.processes import Processes

FOLDER = "cases"  # in a run's folder, for as long as the run lasts


class StoredTensors(Mapping):
    """Role -> tensor (C, D, H, W) of a case, in files: mapped into memory where it is asked for, and read where it is
    looked at. The system keeps what was read for as long as it has memory to spare."""

    def __init__(self, files: dict[str, Path], shapes: dict[str, tuple[int, ...]]):
        self.files, self.shapes = files, shapes

    @classmethod
    def write(cls, folder: Path, tensors: Mapping[str, torch.Tensor]) -> StoredTensors:
        """Write float32 tensors to `<role>` files of a new folder."""
        folder.mkdir(parents=True)
        files = {role: folder / role for role in tensors}
        for role, tensor in tensors.items():
            tensor.contiguous().numpy().tofile(files[role])
        return cls(files, {role: tuple(tensor.shape) for role, tensor in tensors.items()})

    def __getitem__(self, role: str) -> torch.Tensor:
        shape = self.shapes[role]
        mapped = torch.from_file(str(self.files[role]), size=torch.Size(shape).numel(), dtype=torch.float32)
        return mapped.view(shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)


@contextmanager
def prepared_cases(cases: list[Case], system: System, folder: Path, processes: Processes,
                   say: Callable[[int], None]) -> Iterator[list[LoadedCase]]:
    """The cases as the system's networks see them, in files of `folder` while the context lasts.

    Several processes prepare each their share, in a folder that all of them see. say(n) is called before the n-th case
    of this process. Raises DataError naming the case that cannot be used; or where the files cannot be written.
    """
    place = Path(folder) / FOLDER
    new = not place.parent.exists()
    try:
        if processes.first:
            shutil.rmtree(place, ignore_errors=True)  # of a run that was killed
        processes.wait()
        yield _together(cases, system, place, processes, say)
    finally:
        if processes.first:
            shutil.rmtree(place, ignore_errors=True)
            if new and place.parent.exists() and not any(place.parent.iterdir()):
                place.parent.rmdir()


def _together(cases, system, place: Path, processes: Processes, say) -> list[LoadedCase]:
    mine, failure = {}, None
    for number in processes.share.of(range(len(cases))):
        say(len(mine))
        try:
            mine[number] = _stored(cases[number], system, place / f"{number:06d}")
        except DataError as error:
            failure = error
            break
    parts = processes.gathered((mine, failure))
    for _, failure in parts:
        if failure is not None:
            raise failure
    whole = {number: case for mine, _ in parts for number, case in mine.items()}
    if not all(path.exists() for case in whole.values() for path in case.tensors.files.values()):
        raise DataError(f"Not all machines see the files of {place}: choose a place for the model that they share.")
    return [whole[number] for number in range(len(cases))]


def _stored(case: Case, system: System, folder: Path) -> LoadedCase:
    loaded = load_case(case, system)
    try:
        return replace(loaded, tensors=StoredTensors.write(folder, loaded.tensors))
    except OSError as error:
        size = sum(tensor.numel() * tensor.element_size() for tensor in loaded.tensors.values())
        raise DataError(
            f"The prepared case '{case.name}' ({size / 1e6:.0f} MB) cannot be written to {folder.parent} "
            f"({error.strerror}): make room there, or choose another place for the model."
        ) from error
