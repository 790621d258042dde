"""Pictures of results that one can judge by eye."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from GANSynthesisLib.evaluation.registration import Alignment, LabeledPair, mask_center
from GANSynthesisLib.transforms import SpatialTransform
from GANSynthesisLib.volumes import Grid, Volume, resample

PLANES = {"axial": 0, "coronal": 1, "sagittal": 2}  # the axis (k, j, i) that is cut
FIXED_COLOR, MOVING_COLOR = "#e69f00", "#56b4e9"  # Okabe and Ito 2008
TILE = 8  # voxels of a square of the checkerboard
LINES = 4  # voxels between the lines of the deformed grid


def registration_figure(pair: LabeledPair, transform: SpatialTransform, found: Alignment, path: Path) -> None:
    """One PNG: contours of both structures before and after, a checkerboard, and the deformation, in three planes.

    Before: the centers of the two images laid on each other, since the images as given need not overlap.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    canonical = pair.fixed.canonical()
    grid = canonical.grid
    start = SpatialTransform.translation(pair.moving.grid.centre_ras - pair.fixed.grid.centre_ras)
    before, mask = (_on(grid, volume, start) for volume in (pair.moving, pair.moving_mask))
    after, warped = (_on(grid, volume, transform) for volume in (pair.moving, pair.moving_mask))
    fixed, gland = canonical.voxels.astype(np.float32), resample(pair.fixed_mask, grid, fill=0).voxels
    dense = np.zeros((3, *grid.shape)) if transform.displacement is None else _dense(transform, grid)
    center = np.linalg.inv(grid.ijk_to_ras) @ np.append(mask_center(pair.fixed_mask), 1)
    at = np.clip(np.rint(center[:3][::-1]), 0, np.array(grid.shape) - 1).astype(int)
    figure = Figure(figsize=(13, 9), dpi=80, facecolor="white")
    axes = figure.subplots(3, 5)
    titles = ("fixed", "moving, before", "moving, after", "checkerboard, after", "displacement of the dense part")
    for row, (plane, axis) in zip(axes, PLANES.items(), strict=True):
        cut, aspect = _cutter(axis, at[axis]), _aspect(grid, axis)
        images = (fixed, before, after, _checkerboard(fixed, after), None)
        for column, (panel, image) in enumerate(zip(row, images, strict=True)):
            panel.set_xticks([])
            panel.set_yticks([])
            if column == 0:
                panel.set_ylabel(plane)
            if axis == 0:
                panel.set_title(titles[column], fontsize=10)
            if image is None:
                _deformed_lines(panel, dense, grid, axis, at[axis])
                panel.set_aspect(aspect)
                continue
            panel.imshow(cut(image), cmap="gray", origin="lower", aspect=aspect)
            outlines = ((gland, FIXED_COLOR), (mask if column == 1 else warped, MOVING_COLOR))
            for outline, color in outlines[: 1 if column == 0 else 2]:
                if cut(outline).min() < 0.5 < cut(outline).max():
                    panel.contour(cut(outline), [0.5], colors=color, linewidths=1.2)
    errors = found.landmarks_fixed_mm
    figure.suptitle(
        f"{pair.name}: Dice {found.dice:.3f}, HD95 {found.hausdorff_mm:.1f} mm"
        + (f", landmarks {errors.mean():.1f} mm" if len(errors) else "")
        + f", folding {100 * found.folding:.2f} %\norange: structure in the fixed image, blue: in the moving image",
        fontsize=11,
    )
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_png(str(path))


def _on(grid: Grid, volume: Volume, transform: SpatialTransform) -> np.ndarray:
    return resample(volume, grid, fill=float(volume.voxels.min()), transform=transform).voxels.astype(np.float32)


def _dense(transform: SpatialTransform, grid: Grid) -> np.ndarray:
    """(3, K, J, I) mm along the axes i, j, k of `grid`: what the map does beyond its linear part, in fixed space."""
    inner = SpatialTransform(np.eye(4), transform.displacement, transform.grid).total_displacement(grid)
    return np.einsum("ba,bkji->akji", grid.directions, inner)


def _cutter(axis: int, at: int):
    return lambda volume: np.take(volume, at, axis)


def _aspect(grid: Grid, axis: int) -> float:
    across, up = [grid.spacing[2 - a] for a in (2, 1, 0) if a != axis]
    return up / across


def _checkerboard(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squares of two images in turn, each stretched to its own range."""
    squares = sum(np.indices(a.shape) // TILE) % 2 == 0
    scaled = [np.clip((each - each.min()) / max(float(np.percentile(each, 99.5) - each.min()), 1e-6), 0, 1)
              for each in (a, b)]
    return np.where(squares, *scaled)


def _deformed_lines(panel, dense: np.ndarray, grid: Grid, axis: int, at: int) -> None:
    """A regular grid of lines as the dense part of the map displaces it."""
    across, up = [a for a in (2, 1, 0) if a != axis]
    shape = (grid.shape[up], grid.shape[across])
    rows, columns = np.indices(shape, dtype=np.float64)
    x = columns + np.take(dense[2 - across], at, axis) / grid.spacing[2 - across]
    y = rows + np.take(dense[2 - up], at, axis) / grid.spacing[2 - up]
    for line in range(0, shape[0], LINES):
        panel.plot(x[line], y[line], color="#444444", linewidth=0.6)
    for line in range(0, shape[1], LINES):
        panel.plot(x[:, line], y[:, line], color="#444444", linewidth=0.6)
