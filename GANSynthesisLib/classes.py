"""What a classifier says of an image, and how it is written to a file."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from GANSynthesisLib.files import replaced_whole, write_json

CLASS_ENDINGS = (".json", ".csv")


@dataclass(frozen=True)
class Classification:
    """Probability of each class by name, in the order of the model; `name`: the image that it is of."""

    probabilities: dict[str, float]
    name: str = ""

    @property
    def class_name(self) -> str:
        """The most probable class."""
        return max(self.probabilities, key=self.probabilities.__getitem__)

    def __str__(self) -> str:
        listed = sorted(self.probabilities.items(), key=lambda entry: -entry[1])
        return f"{self.class_name} ({', '.join(f'{name} {value:.1%}' for name, value in listed)})"

    def as_json(self) -> dict:
        return {"class": self.class_name, "probabilities": self.probabilities, "name": self.name}


def write_classification(found: Classification, path: Path) -> None:
    """The class and the probabilities as JSON, or as CSV with a row for each class; whole or not at all."""
    path = Path(path)
    if path.suffix.lower() == ".json":
        write_json(found.as_json(), path)
        return
    with replaced_whole(path) as beside, beside.open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(("image", "class", "probability"))
        rows.writerows((found.name, name, f"{value:.6f}") for name, value in found.probabilities.items())
