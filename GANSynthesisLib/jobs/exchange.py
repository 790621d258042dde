"""Volumes, transforms and surfaces between processes: `.npy` files in a folder of one job, described by small JSON
objects."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np

from GANSynthesisLib.grid import Grid
from GANSynthesisLib.jobs.job import JobError
from GANSynthesisLib.jobs.process import is_alive
from GANSynthesisLib.steps import run_through
from GANSynthesisLib.surfaces import Surface
from GANSynthesisLib.transforms import SpatialTransform
from GANSynthesisLib.volumes import Volume

_PREFIX = "gansynthesis-"
_CHUNK = 8 << 20  # bytes written at a time: some milliseconds


class Exchange:
    """A folder through which one job's arrays travel. What is read is mapped into memory, not copied.

    Writing is plain writing, never through a map: on a full disk that raises, where a map would end the process.
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        self._count = 0

    @staticmethod
    def create(root: Path | str | None = None) -> Exchange:
        """A new, empty folder (in `root`, else the system's place for temporary files).

        Folders that a process left behind which is no more are removed on the way. Raises `JobError`.
        """
        root = Path(root or tempfile.gettempdir())
        _remove_stale(root)
        try:
            return Exchange(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=root))
        except OSError as error:
            raise JobError(f"The folder {root} for temporary files cannot be used ({error.strerror}): set the "
                           "environment variable TMPDIR to one that can.") from error

    def remove(self) -> None:
        """Remove the folder and everything in it; arrays that were read must not be used any more."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def write(self, value: Volume | SpatialTransform | Surface) -> dict[str, Any]:
        """Write the value's arrays; gives the description that `read` takes."""
        return run_through(self.writing(value))

    def writing(self, value: Volume | SpatialTransform | Surface) -> Generator[None, None, dict[str, Any]]:
        """The same in steps of some milliseconds, for those who must not wait."""
        if isinstance(value, Surface):
            described = {"kind": "surface"}
            for name in ("points", "triangles", "normals"):
                described[name] = yield from self._writing_array(getattr(value, name))
            return described
        if isinstance(value, Volume):
            file = yield from self._writing_array(value.voxels)
            return {"kind": "volume", "file": file, "ijk_to_ras": value.ijk_to_ras.tolist(), "unit": value.unit,
                    "name": value.name, "label_names": {str(key): name for key, name in value.label_names.items()}}
        described = {"kind": "transform", "matrix": value.matrix.tolist(), "file": None}
        if value.displacement is not None:
            described["file"] = yield from self._writing_array(value.displacement)
            described["ijk_to_ras"] = value.grid.ijk_to_ras.tolist()
        return described

    def read(self, described: dict[str, Any]) -> Volume | SpatialTransform | Surface:
        """The value that was written, its arrays mapped read-only from the files."""
        if described["kind"] == "surface":
            return Surface(*(self._mapped(described[name]) for name in ("points", "triangles", "normals")))
        array = self._mapped(described["file"]) if described["file"] else None
        if described["kind"] == "volume":
            names = {int(key): name for key, name in described["label_names"].items()}
            return Volume(array, described["ijk_to_ras"], described["unit"], described["name"], names)
        grid = None if array is None else Grid(array.shape[1:], described["ijk_to_ras"])
        return SpatialTransform(described["matrix"], array, grid)

    def _mapped(self, name: str) -> np.ndarray:
        return np.load(self.folder / Path(name).name, mmap_mode="r", allow_pickle=False)

    def _writing_array(self, array: np.ndarray) -> Generator[None, None, str]:
        # The process is part of the name: both sides write into the folder.
        name, self._count = f"{os.getpid()}-{self._count}.npy", self._count + 1
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        try:
            with (self.folder / name).open("wb") as stream:
                header = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False,
                          "shape": array.shape}
                np.lib.format.write_array_header_1_0(stream, header)
                for start in range(0, flat.size, _CHUNK):
                    stream.write(flat[start : start + _CHUNK].data)
                    yield
        except OSError as error:
            free = shutil.disk_usage(self.folder).free >> 20 if self.folder.exists() else 0
            raise JobError(
                f"The volumes cannot be handed over: writing {flat.size >> 20} MB into {self.folder} failed "
                f"({error.strerror}, {free} MB free): free some space, or set TMPDIR to a larger disk."
            ) from error
        return name


def _remove_stale(root: Path) -> None:
    for folder in root.glob(f"{_PREFIX}*-*"):
        owner = folder.name.removeprefix(_PREFIX).split("-")[0]
        if owner.isdigit() and not is_alive(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)
