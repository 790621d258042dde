"""overview.png: inputs, outputs, contours, checkerboard, differences and the deformation grid in one picture."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize, to_rgb
from matplotlib.offsetbox import AnchoredOffsetbox, HPacker, TextArea

from Demo.picture import Picture
from Demo.views import View, checkerboard

PAPER, INK, QUIET, LINE = "#000000", "#f2f4f7", "#9aa4b2", "#333b47"
COLORS = {"CSF": "#38bdf8", "gray matter": "#fb923c", "white matter": "#fde68a"}
OUTLINE, RIGHT, WRONG = "#facc15", "#4ade80", "#f43f5e"
AXIAL_MM, CORONAL_MM, SAGITTAL_MM = 12.0, -16.0, 6.0
DPI, WIDTH, SIDE, GAP = 110, 18.0, 0.35, 0.16  # inches, but for the dots per inch
HEADER, LEGEND, TITLE, FOOT = 0.72, 0.36, 0.85, 0.4


class Sheet:
    """A figure whose pictures all have one scale, laid out in rows from the top."""

    def __init__(self, row_mm: float, rows: int, inch_per_mm: float):
        self.scale, self.row = inch_per_mm, row_mm * inch_per_mm
        self.height = TITLE + rows * (HEADER + self.row + LEGEND) + FOOT
        self.figure = plt.figure(figsize=(WIDTH, self.height), facecolor=PAPER)
        self.top = self.height - TITLE

    def text(self, x: float, y: float, text: str, size: float, color=INK, **how) -> None:
        self.figure.text(x / WIDTH, y / self.height, text, fontsize=size, color=color, **how)

    def header(self, number: str, title: str, words: str) -> None:
        """Title of the next row, and what was measured in it."""
        y = self.top - 0.3
        self.text(SIDE, y, number, 15, OUTLINE, weight="bold")
        self.text(SIDE + 0.28, y, title, 15, weight="bold")
        self.text(WIDTH - SIDE, y, words, 12, INK, ha="right")
        rule = plt.Line2D([SIDE / WIDTH, 1 - SIDE / WIDTH], [(self.top - 0.4) / self.height] * 2, color=LINE, lw=1)
        self.figure.add_artist(rule)

    def place(self, sizes: list[tuple[float, float]]) -> list[Axes]:
        """Axes of these widths and heights in mm, side by side over the whole width; the row is then finished."""
        widths = [width * self.scale for width, _ in sizes]
        gap = (WIDTH - 2 * SIDE - sum(widths)) / (len(sizes) - 1)
        axes, x, bottom = [], SIDE, self.top - HEADER - self.row
        for (_, height_mm), width in zip(sizes, widths, strict=True):
            height = height_mm * self.scale
            y = bottom + (self.row - height) * 0.6
            axes.append(self.figure.add_axes((x / WIDTH, y / self.height, width / WIDTH, height / self.height)))
            x += width + gap
        self.top -= HEADER + self.row + LEGEND
        return axes


def draw_overview(picture: Picture, path: Path) -> None:
    """Write the overview (PNG)."""
    axial, coronal, sagittal = (
        picture.view(plane, at) for plane, at in
        (("axial", AXIAL_MM), ("coronal", CORONAL_MM), ("sagittal", SAGITTAL_MM))
    )  # fmt: skip
    row_mm = axial.size_mm[1]
    widest = 4 * axial.size_mm[0] + sagittal.size_mm[0] + 190
    sheet = Sheet(row_mm, 3, (WIDTH - 2 * SIDE - 5 * GAP) / widest)
    sheet.text(SIDE, sheet.height - 0.5, "GANSynthesis", 24, weight="bold")
    words = "one T1-weighted brain in: synthetic T2, tissues and registration out"
    sheet.text(SIDE + 3.05, sheet.height - 0.5, words, 15, QUIET)
    _synthesis(sheet, picture, axial, coronal, sagittal)
    _segmentation(sheet, picture, axial, coronal, sagittal)
    _registration(sheet, picture, axial)
    sheet.text(
        SIDE, 0.16, "Input: ICBM 152 average brain, 1 mm (packaged with nilearn). Patient's right is on the viewer's "
        "left. Outputs are synthetic: research only, not for diagnosis.", 10, QUIET,
    )  # fmt: skip
    sheet.figure.savefig(path, dpi=DPI, facecolor=PAPER)
    plt.close(sheet.figure)


def _synthesis(sheet: Sheet, picture: Picture, axial: View, coronal: View, sagittal: View) -> None:
    values = picture.numbers["synthesis"]["median_intensity"]
    words = "median intensity   " + "   ".join(f"{name} {value:.0f}" for name, value in values.items())
    sheet.header("1", "Synthesize: T1 in, T2 out", words)
    views = (axial, axial, coronal, coronal, sagittal)
    axes = sheet.place([*(view.size_mm for view in views), (190, axial.size_mm[1] * 0.78)])
    names = ("t1", "t2", "t1", "t2", "t2")
    titles = ("T1 (input)", "synthetic T2", "T1 (input)", "synthetic T2", "synthetic T2")
    for ax, view, name, title in zip(axes, views, names, titles, strict=False):
        _image(ax, view, view.cut(picture.images[name]), title)
    _distributions(axes[-1], picture)


def _distributions(ax: Axes, picture: Picture) -> None:
    """How bright each tissue is in the synthetic T2."""
    ax.set_facecolor(PAPER)
    values = {name: picture.intensities[mask] for name, mask in picture.cores.items()}
    highest = 1.1 * max(np.percentile(value, 98) for value in values.values())
    edges = np.linspace(0, highest, 70)
    for name, value in values.items():
        density, _ = np.histogram(value, edges, density=True)
        middle, density = (edges[1:] + edges[:-1]) / 2, density / density.max()
        ax.fill_between(middle, density, color=COLORS[name], alpha=0.28, lw=0)
        ax.plot(middle, density, color=COLORS[name], lw=1.6)
    ax.set(xlim=(0, highest), ylim=(0, 1.05), yticks=[])
    ax.set_title("synthetic T2 by tissue", color=INK, fontsize=10.5, pad=4)
    ax.set_xlabel("intensity in voxels that are certainly", color=QUIET, fontsize=9.5)
    _legend(ax, [(name, COLORS[name]) for name in values], below=0.2)
    ax.tick_params(colors=QUIET, labelsize=9)
    for side, spine in ax.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(QUIET)


def _segmentation(sheet: Sheet, picture: Picture, axial: View, coronal: View, sagittal: View) -> None:
    overlaps = picture.numbers["segmentation"]["dice"]
    words = "Dice   " + "   ".join(f"{name} {value:.2f}" for name, value in overlaps.items())
    sheet.header("2", "Segment: the synthetic T2 in, tissues out", words)
    views = (axial, coronal, sagittal, axial, axial, axial)
    axes = sheet.place([view.size_mm for view in views])
    for ax, view in zip(axes, (axial, coronal, sagittal), strict=False):
        _image(ax, view, view.cut(picture.images["t2"]), f"tissue outlines, {view.plane}")
        for name, mask in picture.found.items():
            _outline(ax, view, mask, COLORS.get(name, INK), 0.9)
    _image(axes[3], axial, _colored(axial, picture, picture.found), "tissue (output)")
    _image(axes[4], axial, _colored(axial, picture, picture.reference), "reference: probability maps")
    _image(axes[5], axial, _agreement(axial, picture), "agreement")
    for ax, names in ((axes[3], ("CSF", "gray matter", "white matter")), (axes[4], ("gray matter", "white matter"))):
        _legend(ax, [(name, COLORS[name]) for name in names])
    _legend(axes[5], [("same", RIGHT), ("different", WRONG)])


def _legend(ax: Axes, entries: list[tuple[str, str]], below: float = 0.0) -> None:
    """Words in their colors, centered below a picture."""
    words = [TextArea(text, textprops={"color": color, "fontsize": 10, "weight": "bold"}) for text, color in entries]
    row = HPacker(children=words, pad=0, sep=9)
    ax.add_artist(AnchoredOffsetbox("upper center", child=row, frameon=False, pad=0, borderpad=0.3,
                                    bbox_to_anchor=(0.5, -below), bbox_transform=ax.transAxes))


def _colored(view: View, picture: Picture, masks: dict[str, np.ndarray]) -> np.ndarray:
    """(rows, columns, 3) every tissue in its color, shaded by the T1."""
    shade = 0.45 + 0.55 * view.cut(picture.images["t1"])[..., None]
    colored = np.zeros((*shade.shape[:2], 3)) + to_rgb(PAPER)
    for name, mask in masks.items():
        colored = np.where(view.cut(mask)[..., None], np.array(to_rgb(COLORS.get(name, INK))) * shade, colored)
    return colored


def _agreement(view: View, picture: Picture) -> np.ndarray:
    """(rows, columns, 3): where gray and white matter agree with the reference, over the T1."""
    same, other = np.zeros_like(picture.brain), np.zeros_like(picture.brain)
    for name, mask in picture.reference.items():
        found = picture.found.get(name, np.zeros_like(mask))
        same |= found & mask
        other |= found ^ mask
    gray = np.repeat(view.cut(picture.images["t1"])[..., None], 3, -1)
    for mask, color, strength in ((same & ~other, RIGHT, 0.3), (other, WRONG, 0.75)):
        tinted = (1 - strength) * gray + strength * np.array(to_rgb(color))
        gray = np.where(view.cut(mask)[..., None], tinted, gray)
    return gray


def _registration(sheet: Sheet, picture: Picture, view: View) -> None:
    numbers = picture.numbers["registration"]
    before, after = numbers["error_before_mm"], numbers["error_after_mm"]
    words = (
        f"error against the known displacement   before {before['mean']:.1f} mm (95 % below {before['p95']:.1f})"
        f"   after {after['mean']:.1f} mm (95 % below {after['p95']:.1f})"
    )
    sheet.header("3", "Register: a displaced T2 onto the T1", words)
    axes = sheet.place([view.size_mm] * 6)
    for ax, name, title in ((axes[0], "moving", "displaced T2"), (axes[1], "warped", "aligned T2")):
        _image(ax, view, view.cut(picture.images[name]), title)
        _legend(ax, [("outlines of the T1", OUTLINE)])
        for mask in (picture.brain, picture.reference["white matter"]):
            _outline(ax, view, mask, OUTLINE, 0.9)
    board = checkerboard(view.cut(picture.images["t1"]), view.cut(picture.images["warped"]), 22)
    _image(axes[2], view, board, "T1 and aligned T2 by turns")
    for ax, name, title in ((axes[3], "moving", "difference before"), (axes[4], "warped", "difference after")):
        shown = view.cut(np.abs(picture.images[name] - picture.images["t2"]))
        _image(ax, view, shown, title, cmap="inferno", highest=0.6)
        _legend(ax, [("from the undisplaced T2", QUIET)])
    _deformation(axes[5], view, picture)


def _deformation(ax: Axes, view: View, picture: Picture) -> None:
    """The T1's grid, carried onto the displaced volume by the registration; colors are the way in mm."""
    _image(ax, view, 0.55 * view.cut(picture.images["moving"]), "deformation grid")
    there, length = picture.moved(view.lattice(2.0))
    x, y = view.place(there)
    lines, values = [], []
    for across, up, way in ((x, y, length), (x.T, y.T, length.T)):
        for line in range(0, len(across), 4):
            points = np.stack([across[line], up[line]], -1)
            lines += list(np.stack([points[:-1], points[1:]], 1))
            values += list(way[line][1:])
    drawn = LineCollection(lines, cmap="turbo", norm=Normalize(0, max(values)), linewidths=0.9)
    drawn.set_array(np.array(values))
    ax.add_collection(drawn)
    bar = ax.inset_axes((0.15, -0.035, 0.7, 0.02))
    colors = plt.colorbar(drawn, cax=bar, orientation="horizontal")
    colors.outline.set_visible(False)
    colors.set_label("displacement in mm", color=QUIET, fontsize=9, labelpad=1)
    bar.tick_params(colors=QUIET, labelsize=8, length=2, pad=1)


def _image(ax: Axes, view: View, image: np.ndarray, title: str, cmap: str = "gray", highest: float = 1.0) -> None:
    """A slice (rows, columns), or a colored one (rows, columns, 3), with letters at its sides."""
    ax.imshow(image, cmap, vmin=0, vmax=highest, origin="lower", extent=view.extent, interpolation="bilinear")
    ax.set(xlim=view.extent[:2], ylim=view.extent[2:], xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.set_title(title, color=INK, fontsize=10.5, pad=4)
    left, right, *_ = view.letters
    for letter, x in ((left, 0.02), (right, 0.98)):
        ax.text(x, 0.5, letter, color=QUIET, fontsize=8, transform=ax.transAxes, ha="center", va="center")


def _outline(ax: Axes, view: View, mask: np.ndarray, color: str, width: float) -> None:
    shown = view.cut(mask)
    if shown.any() and not shown.all():
        ax.contour(shown.astype(float), [0.5], colors=[color], linewidths=width, extent=view.extent, origin="lower")
