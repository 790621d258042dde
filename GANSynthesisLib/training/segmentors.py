"""A segmentor trained through translation becomes a model of its own, to be applied to real target images."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from GANSynthesisLib.models import Card, ModelError, load_model, save_model
from GANSynthesisLib.systems.segmentor import Segmentor, SegmentorSettings

TRANSLATING = ("cyclegan", "mr_gan", "shape_consistency")  # their segmentor reads images of the target modality


def extract_segmentor(model_file: Path, output: Path, card: dict | None = None) -> Path:
    """Write the segmentor that learned through translation as a model of the system `segmentor`.

    card: fields to set on top (name, title, description, …). Raises ModelError for a model without a segmentor.
    """
    model = load_model(Path(model_file))
    whole = model.card
    if whole.system not in TRANSLATING or not any(port.is_segmentation for port in whole.outputs):
        raise ModelError(
            f"The model '{whole.name}' has no segmentor: train cyclegan with segmentation_weight above 0."
        )
    system = model.build()
    known = {field.name for field in dataclasses.fields(SegmentorSettings)}
    settings = {name: value for name, value in whole.settings.items() if name in known}
    settings |= {"modality": whole.settings["target_modality"], "intensity": whole.settings["target_intensity"]}
    fields = {field.name: getattr(whole, field.name) for field in dataclasses.fields(Card)}
    fields |= {
        "name": f"{whole.name}-segmentor",
        "title": f"Segmentor of {whole.settings['target_modality']}, trained through translation",
        "description": f"The segmentor of the CycleGAN '{whole.name}'. Research only, not for diagnosis.",
        "system": Segmentor.name, "task": Segmentor.task, "settings": settings,
        "inputs": (dataclasses.replace(whole.input("target"), name="source", optional=False,
                                       description="image to be segmented"),),
        "outputs": (dataclasses.replace(whole.output("segmentation"), needs=("source",)),),
        "training": {**whole.training, "through": whole.name, "through_hash": model.sha256,
                     "inputs": _seen_by_segmentor(whole)}, "metrics": {},
    }
    save_model(output, system.segmentor.state_dict(prefix="segmentor."), Card(**{**fields, **(card or {})}))
    return Path(output)


def _seen_by_segmentor(whole: Card) -> dict[str, dict]:
    """What its images looked like in training: the target images of the whole model are the segmentor's source."""
    inputs = whole.training.get("inputs", {})
    return {"source": inputs["target"]} if "target" in inputs else {}
