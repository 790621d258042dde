"""A volume to try things on where no image is at hand: it looks like a head to a network, and belongs to nobody."""

import numpy as np
import slicer


def add_head(name: str = "Head"):
    """New volume node with an ellipsoid of bright and dark layers in air.

    48 x 40 x 32 voxels (i, j, k) of 3 x 4 x 5 mm, on an oblique grid centered at the origin; intensities 0…600.
    """
    k, j, i = np.indices((32, 40, 48), dtype=np.float32)
    radius = np.sqrt(((k - 15.5) / 14) ** 2 + ((j - 19.5) / 17) ** 2 + ((i - 23.5) / 20) ** 2)
    voxels = np.where(radius < 1, 300 + 300 * np.cos(6 * radius), 0).astype(np.float32)
    cosine, sine = np.cos(0.3), np.sin(0.3)
    matrix = np.eye(4)
    matrix[:3, :3] = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]]) * (3, 4, 5)
    matrix[:3, 3] = -matrix[:3, :3] @ (23.5, 19.5, 15.5)
    return slicer.util.addVolumeFromArray(
        voxels, ijkToRAS=matrix, name=name, nodeClassName="vtkMRMLScalarVolumeNode"
    )
