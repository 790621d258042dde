"""A page that shows the same slices of all models side by side, and their numbers above."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from GANSynthesisLib.evaluation.synthesis import PERCENTILES, KnownCase, comparable
from GANSynthesisLib.files import replaced_whole
from GANSynthesisLib.volumes import Volume, resample

PANEL_INCHES = 2.2
STYLE = (
    "body{font:15px sans-serif;margin:2em;max-width:100em}table{border-collapse:collapse}"
    "td,th{padding:.3em .8em;text-align:right;border-bottom:1px solid #ccc}td:first-child,th:first-child"
    "{text-align:left}img{max-width:100%}"
)


def write_picture(folder: Path, number: int, case: KnownCase, results: Mapping[str, Volume]) -> str:
    """A PNG of one case: source, reference, the result of every model by name, and below each its error; gives the
    name of the file."""
    name = f"case_{number:03d}.png"
    folder.mkdir(parents=True, exist_ok=True)
    _figure(case, results, folder / name)
    return name


def write_page(
    folder: Path, columns: Sequence[str], rows: Sequence[Sequence[str]], pictures: Mapping[str, str]
) -> None:
    """index.html with a table of the numbers, and the pictures in the same folder: name of the case -> file."""
    figures = [
        f"<h2>{escape(case)}</h2><p><img src='{name}' alt='{escape(case)}'></p>" for case, name in pictures.items()
    ]
    head = "".join(f"<th>{escape(each)}</th>" for each in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(each)}</td>" for each in row) + "</tr>" for row in rows)
    text = (
        f"<!DOCTYPE html><html lang='en'><meta charset='utf-8'><title>Side by side</title><style>{STYLE}</style>"
        "<h1>Side by side</h1><p>Synthetic images, not for diagnosis. Means over cases, in brackets the 95 % "
        f"bootstrap interval over subjects.</p><table><tr>{head}</tr>{body}</table>{''.join(figures)}</html>\n"
    )
    with replaced_whole(folder / "index.html") as beside:
        beside.write_text(text, encoding="utf-8")


def _figure(case: KnownCase, results: Mapping[str, Volume], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    images, errors, limit = _images(case, results)
    shape, spacing = images["reference"].shape, case.reference.canonical().spacing
    planes = [axis for axis in range(3) if min(np.delete(shape, axis)) > 1]
    rows = 2 * len(planes) if errors else len(planes)
    figure = Figure(figsize=(PANEL_INCHES * len(images), PANEL_INCHES * rows + 0.4), dpi=90, facecolor="white")
    panels = figure.subplots(rows, len(images), squeeze=False)
    for panel in panels.flat:
        panel.set_axis_off()
    for line, axis in enumerate(planes):
        across, up = [2 - a for a in (2, 1, 0) if a != axis]
        for column, (name, image) in enumerate(images.items()):
            at = shape[axis] // 2
            look = {"origin": "lower", "aspect": spacing[up] / spacing[across]}
            panel = panels[line * (2 if errors else 1)][column]
            panel.imshow(np.take(image, at, axis), cmap="gray", vmin=limit[0], vmax=limit[1], **look)
            if line == 0:
                panel.set_title(name, fontsize=8)
            if name in errors:
                width = (limit[1] - limit[0]) / 3
                panels[2 * line + 1][column].imshow(
                    np.take(errors[name], at, axis), cmap="RdBu_r", vmin=-width, vmax=width, **look)
    figure.tight_layout(pad=0.3)
    FigureCanvasAgg(figure).print_png(str(path))


def _images(case: KnownCase, results: Mapping[str, Volume]):
    """Arrays in canonical axes by title, the errors of the models by name, and what is black and what is white."""
    grid = case.reference.canonical().grid

    def on_grid(voxels: np.ndarray) -> np.ndarray:
        return resample(Volume(voxels, case.reference.ijk_to_ras), grid, "nearest").voxels

    if case.mask is None:
        reference, errors = case.reference.voxels.astype(np.float32), {}
        shown = {name: each.voxels.astype(np.float32) for name, each in results.items()}
        limit = 0.0, float(reference.max())
    else:
        pairs = {name: comparable(each, case.reference, case.mask) for name, each in results.items()}
        shown, reference = {name: each[0] for name, each in pairs.items()}, next(iter(pairs.values()))[1]
        limit = tuple(np.percentile(reference[case.mask], PERCENTILES))
        errors = {name: on_grid(np.where(case.mask, each - reference, 0)) for name, each in shown.items()}
    title, source = next(iter(case.inputs.items()))
    source = resample(source, grid).voxels.astype(np.float32)
    low, high = np.percentile(source, [1, 99.5])
    source = (source - low) / max(high - low, 1e-6) * (limit[1] - limit[0]) + limit[0]  # its own gray values
    images = {title: source, "reference": on_grid(reference), **{name: on_grid(each) for name, each in shown.items()}}
    return images, errors, limit
