"""Generated images as pictures: files that training reads again, and sheets that one looks at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from GANSynthesisLib.card import Port
from GANSynthesisLib.files import replaced_whole
from GANSynthesisLib.volumes import Volume
from GANSynthesisLib.working import output_intensity

COLUMNS = 12  # of a sheet, where rows mean nothing


def gray_levels(volume: Volume, port: Port) -> np.ndarray:
    """The middle slice of a generated image as uint8, rows from anterior (the top) and columns from the patient's
    right: 0 and 255 are the ends of the range that the model's card gives to the output."""
    scaled = output_intensity(port).normalize(volume.voxels[volume.shape[0] // 2])
    return np.clip(np.rint((scaled[::-1, ::-1] + 1) * 127.5), 0, 255).astype(np.uint8)


def write_picture(volume: Volume, port: Port, path: Path) -> None:
    """One slice as a gray PNG, whole or not at all."""
    with replaced_whole(path) as beside:
        sitk.WriteImage(sitk.GetImageFromArray(gray_levels(volume, port)), str(beside))


def write_sheet(pictures: Sequence[np.ndarray], titles: Sequence[str], path: Path, columns: int = 0) -> None:
    """Pictures (rows, columns) of gray levels side by side in one PNG, each under its title.

    columns: of the sheet, where its rows mean something; else so many that it is about square.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = columns or min(COLUMNS, math.ceil(math.sqrt(len(pictures))))
    rows = math.ceil(len(pictures) / columns)
    figure = Figure(figsize=(1.3 * columns, (1.5 if any(titles) else 1.3) * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, picture, title in zip(axes, pictures, titles, strict=False):
        axis.imshow(picture, cmap="gray", vmin=0, vmax=255)
        axis.set_title(title, fontsize=7)
    with replaced_whole(path) as beside:
        figure.savefig(beside, dpi=100, format="png")
