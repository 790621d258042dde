"""One picture of all tabs, for the README: states side by side, as wide as Slicer's module panel."""

from pathlib import Path

from PySide6 import QtGui

SHOWN = ("apply-done", "train-running", "evaluate-done", "batch-done")
GAP = 12  # px


def write_overview(pictures: Path, file: Path) -> None:
    """Join the light pictures of `SHOWN` at 420 px from the folder; raises FileNotFoundError where one is missing."""
    images = []
    for name in SHOWN:
        image = QtGui.QImage(str(pictures / f"{name}-420-light.png"))
        if image.isNull():
            raise FileNotFoundError(f"There is no picture of the state {name} in {pictures}: render all states.")
        images.append(image)
    width = sum(image.width() for image in images) + GAP * (len(images) - 1)
    joined = QtGui.QImage(width, max(image.height() for image in images), QtGui.QImage.Format.Format_RGB32)
    joined.fill(QtGui.QColor("white"))
    painter, left = QtGui.QPainter(joined), 0
    for image in images:
        painter.drawImage(left, 0, image)
        left += image.width() + GAP
    painter.end()
    joined.save(str(file))
