"""What one sees of a run: losses as CSV and curves, previews as pictures."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from GANSynthesisLib.training.losses import LossesFile


def write_history(folder: Path, history: list[dict], losses: LossesFile | None = None) -> None:
    """`losses.csv` (one row per logged step) and `losses.png` (one panel per family of terms).

    losses: keeps the table up to date with less writing, where the same run comes again and again.
    """
    (losses or LossesFile(folder / "losses.csv")).follow(history)
    names = sorted({name for row in history for name in row} - {"step"})
    if history:
        _plot(folder / "losses.png", history, names)


def _figure(width: float, height: float):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _plot(path: Path, history: list[dict], names: list[str]) -> None:
    families = sorted({name.split("/")[0] for name in names})
    figure = _figure(7, 2.6 * len(families))
    axes = figure.subplots(len(families), 1, squeeze=False, sharex=True)[:, 0]
    for axis, family in zip(axes, families, strict=True):
        for name in names:
            if name.split("/")[0] == family:
                points = [(row["step"], row[name]) for row in history if name in row]
                axis.plot(*zip(*points, strict=True), label=name.split("/", 1)[-1], linewidth=1)
        axis.set_title(family, fontsize=9, loc="left")
        axis.legend(fontsize=7, frameon=False)
        axis.grid(alpha=0.3)
    axes[-1].set_xlabel("step")
    _save(figure, path, 110)


def write_preview(path: Path, images: dict[str, torch.Tensor]) -> None:
    """The middle slice of every image (1, C, D, H, W) side by side, patient's anterior up."""
    figure = _figure(2.6 * len(images), 2.9)
    axes = figure.subplots(1, len(images), squeeze=False)[0]
    for axis, (name, image) in zip(axes, images.items(), strict=True):
        middle = image[0, 0, image.shape[2] // 2].float().cpu().numpy()
        axis.imshow(middle, cmap="gray", vmin=-1, vmax=1, origin="lower")
        axis.set_title(name, fontsize=9)
        axis.set_axis_off()
    _save(figure, path, 90)


def _save(figure, path: Path, dpi: int) -> None:
    beside = path.with_name(path.name + ".writing")
    figure.savefig(beside, dpi=dpi, format="png")
    os.replace(beside, path)
