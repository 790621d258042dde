"""Images of two classes that can be told apart, as folders of files."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk

CLASSES = ("ball", "box")


def picture(class_name: str, seed: int, size: int = 24) -> np.ndarray:
    """(size, size) uint8: a bright ball, or a bright frame, on noise."""
    random = np.random.default_rng(seed)
    rows, columns = np.indices((size, size)) - (size - 1) / 2 + random.uniform(-2, 2, (2, 1, 1))
    far = np.maximum(abs(rows), abs(columns))
    inside = rows**2 + columns**2 < (size / 4) ** 2 if class_name == "ball" else abs(far - size / 3) < 1.5
    return (np.where(inside, 180, 40) + random.normal(0, 12, (size, size))).clip(0, 255).astype(np.uint8)


def write_picture(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(pixels, isVector=pixels.ndim == 3), str(path))


def write_classes(folder: Path, counts: dict[str, int], size: int = 24, first: int = 0) -> Path:
    """`CLASS/NAME.png`."""
    for class_name, count in counts.items():
        for number in range(first, first + count):
            write_picture(picture(class_name, number, size), folder / class_name / f"{number:03d}.png")
    return folder
