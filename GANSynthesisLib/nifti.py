"""The one thing that ITK does not say about a NIfTI file: a voxel-to-world matrix whose axes are not orthogonal."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np

from GANSynthesisLib.grid import Grid


def sheared_matrix(path: Path) -> np.ndarray | None:
    """(4, 4) ijk to RAS mm of a NIfTI-1 or NIfTI-2 file with sheared axes; None for any other file.

    NIfTI is RAS by definition (Cox et al. 2004); the "sform" is the only part that can hold a shear.
    """
    name = path.name.lower()
    if not name.endswith((".nii", ".nii.gz")):
        return None
    with gzip.open(path) if name.endswith(".gz") else open(path, "rb") as file:
        header = file.read(540)
    if len(header) < 348:
        return None
    order = next((o for o in "<>" if struct.unpack(o + "i", header[:4])[0] in (348, 540)), None)
    if order is None:
        return None
    if struct.unpack(order + "i", header[:4])[0] == 348:
        (code,), rows = struct.unpack_from(order + "h", header, 254), struct.unpack_from(order + "12f", header, 280)
        units = header[123]
        shape = struct.unpack_from(order + "3h", header, 42)
    else:
        (code,), rows = struct.unpack_from(order + "i", header, 348), struct.unpack_from(order + "12d", header, 400)
        (units,) = struct.unpack_from(order + "i", header, 500)
        shape = struct.unpack_from(order + "3q", header, 24)
    scale = {1: 1000.0, 3: 0.001}.get(units & 7, 1.0)  # meters, micrometers
    matrix = np.vstack([np.array(rows).reshape(3, 4) * scale, [0, 0, 0, 1]])
    if code <= 0 or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:3, :3])) < 1e-9:
        return None
    return None if Grid(shape, matrix).is_regular() else matrix
