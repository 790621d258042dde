"""What a user would otherwise run to align MR and ultrasound: ANTs and elastix, from the images alone."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import command  # noqa: F401  puts the library on the path
import numpy as np

from GANSynthesisLib.evaluation.registration import Alignment, LabeledPair, alignment
from GANSynthesisLib.grid import Grid
from GANSynthesisLib.transforms import SpatialTransform
from GANSynthesisLib.volumes import Volume

LPS = np.array([-1.0, -1.0, 1.0])
MODULES = {"ANTs SyN": "ants", "elastix B-spline": "itk"}


def installed(name: str) -> bool:
    """itk alone is not enough: elastix is a module of its own."""
    if importlib.util.find_spec(MODULES[name]) is None:
        return False
    if MODULES[name] == "itk":
        return hasattr(importlib.import_module("itk"), "elastix_registration_method")
    return True


def ants_syn(pair: LabeledPair, start: SpatialTransform) -> Alignment:
    """SyN with mutual information after an affine stage (`SyN` of antspyx, its defaults)."""
    ants = importlib.import_module("ants")
    moving = _started(pair.moving, start)
    images = []
    for volume in (pair.fixed, moving):
        directions = volume.grid.directions * LPS[:, None]
        images.append(ants.from_numpy(
            np.asfortranarray(volume.voxels.T.astype(np.float32)), origin=(volume.ijk_to_ras[:3, 3] * LPS).tolist(),
            spacing=list(volume.spacing), direction=directions,
        ))
    with _quiet():
        begin = time.perf_counter()
        found = ants.registration(*images, type_of_transform="SyN", syn_metric="mattes", aff_metric="mattes")
        seconds = time.perf_counter() - begin
    points = pair.fixed.grid.points().reshape(-1, 3)
    table = importlib.import_module("pandas").DataFrame(points * LPS, columns=["x", "y", "z"])
    moved = ants.apply_transforms_to_points(3, table, found["fwdtransforms"])[["x", "y", "z"]].to_numpy() * LPS
    return _sampled(pair, start, points, moved, seconds)


def elastix_bspline(pair: LabeledPair, start: SpatialTransform) -> Alignment:
    """Rigid, then B-spline (16 mm grid), Mattes mutual information: elastix' own default parameter maps."""
    itk = importlib.import_module("itk")
    moving = _started(pair.moving, start)
    images = []
    for volume in (pair.fixed, moving):
        image = itk.image_from_array(np.ascontiguousarray(volume.voxels.astype(np.float32)))
        image.SetOrigin((volume.ijk_to_ras[:3, 3] * LPS).tolist())
        image.SetSpacing(list(volume.spacing))
        image.SetDirection(itk.matrix_from_array(np.ascontiguousarray(volume.grid.directions * LPS[:, None])))
        images.append(image)
    parameters = itk.ParameterObject.New()
    for stage in ("rigid", "bspline"):
        parameters.AddParameterMap(parameters.GetDefaultParameterMap(stage))
    with _quiet(), tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        _, found = itk.elastix_registration_method(*images, parameter_object=parameters, log_to_console=False)
        seconds = time.perf_counter() - begin
        points = pair.fixed.grid.points().reshape(-1, 3)
        given = Path(folder, "points.txt")
        lines = "\n".join(" ".join(f"{value:.6f}" for value in point) for point in points * LPS)
        given.write_text(f"point\n{len(points)}\n{lines}\n")
        itk.transformix_filter(images[1], transform_parameter_object=found, fixed_point_set_file_name=str(given),
                               output_directory=folder, log_to_console=False)
        text = Path(folder, "outputpoints.txt").read_text().splitlines()
    moved = np.array([line.split("OutputPoint = [")[1].split("]")[0].split() for line in text], float) * LPS
    return _sampled(pair, start, points, moved, seconds)


CLASSICAL = {"ANTs SyN": ants_syn, "elastix B-spline": elastix_bspline}


def _started(moving: Volume, start: SpatialTransform) -> Volume:
    return replace(moving, ijk_to_ras=np.linalg.inv(start.matrix) @ moving.ijk_to_ras)


def _sampled(pair, start: SpatialTransform, points, moved, seconds: float) -> Alignment:
    """The alignment by a map that is known at the voxel centers of the fixed image."""
    grid: Grid = pair.fixed.grid
    field = (moved - points).T.reshape(3, *grid.shape).astype(np.float32)
    return alignment(pair, SpatialTransform(start.matrix, field, grid), seconds)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Both libraries talk to the process's own output."""
    saved, sink = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 1)
        yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)
        os.close(sink)
