"""Small untrained models and folders of cases for the tests of batches."""

from pathlib import Path

import torch
from panel_fixtures import MODELS
from synthetic_cases import head

from GANSynthesisLib.card import Card
from GANSynthesisLib.files import write_volume
from GANSynthesisLib.models import Model, load_model, save_model
from GANSynthesisLib.systems import build_system


def write_model(folder: Path, name: str, seed: int = 0) -> Model:
    """One of the small models as a file in the folder; another seed gives other weights."""
    torch.manual_seed(seed)
    system_name, task, settings, inputs, outputs = MODELS[name]
    system = build_system(system_name, settings)
    card = Card(
        name=name, title=f"Small model {name}", description="Untrained.", system=system_name, task=task,
        settings=settings, inputs=inputs, outputs=outputs, spacing=(8.0, 8.0, 8.0) if task == "register" else None,
        shape=system.settings.window(), context=system.settings.context,
    )  # fmt: skip
    path = folder / f"{name}.safetensors"
    save_model(path, system.deployed_state(), card)
    return load_model(path)


def write_heads(folder: Path, *names: str) -> Path:
    """One small image per name."""
    for number, name in enumerate(names):
        write_volume(head(number, (4, 24, 20), name=name), folder / f"{name}.nii.gz")
    return folder


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
