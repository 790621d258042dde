"""Where an output comes from, written on its node as attributes, which are saved and read with the scene."""

import json
from datetime import datetime, timezone

from GANSynthesisLib import __version__

NOTICE = "synthetic - research only, not for diagnosis"
QUALITY = (
    "quality", "quality_meaning", "expected_error_mm", "expected_error_spread_mm", "folding_fraction",
    "folding_voxels",
)  # fmt: skip
_JSON_VALUES = ("Inputs", "InputHashes", "Settings", "Warnings", "Quality")


def provenance(task: str, model, reports: list[dict], warnings: list[str], nodes: dict) -> dict[str, str]:
    """Attributes `GANSynthesis.*` of everything that one run gives.

    task: what was asked for. model: the `models.Model`. reports: of the `inference.Result`, one per item of a
    sequence, else one. nodes: role -> input node. Values are text; `Inputs`, `InputHashes` (a list per role for a
    sequence), `Settings`, `Warnings` and, of a registration, `Quality` are JSON.
    """
    first = reports[0]
    hashes = {role: [each["inputs"][role].get("hash", "") for each in reports] for role in first.get("inputs", {})}
    if len(reports) == 1:
        hashes = {role: each[0] for role, each in hashes.items()}
    settings = dict(first.get("settings", {}))
    settings.update({key: first[key] for key in ("device", "precision", "seed", "tile") if key in first})
    content = attributes_of(
        task, (model.card.name, model.sha256, model.card.system), nodes, hashes=hashes, settings=settings,
        warnings=warnings,
    )
    quality = {key: first[key] for key in QUALITY if key in first}
    return content | ({"GANSynthesis.Quality": _json(quality)} if quality else {})


def attributes_of(
    task: str, model: tuple[str, str, str], nodes: dict, *, hashes: dict, settings: dict, warnings: list[str]
) -> dict[str, str]:
    """Attributes of what was made of nodes (role -> node). model: its name, hash and system."""
    name, model_hash, system = model
    content = {
        "Task": task,
        "Model": name,
        "ModelHash": model_hash,
        "System": system,
        "Inputs": _json({role: {"name": node.GetName(), "id": node.GetID()} for role, node in nodes.items()}),
        "InputHashes": _json(hashes),
        "Settings": _json(settings),
        "Warnings": _json(warnings),
        "Version": __version__,
        "Date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "Synthetic": "true",
        "Notice": NOTICE,
    }
    return {f"GANSynthesis.{name}": value for name, value in content.items()}


def write_provenance(node, attributes: dict[str, str]) -> None:
    """Put the attributes on the node, and say the same in words in its description (the tool tip in module Data)."""
    for name, value in attributes.items():
        node.SetAttribute(name, value)
    inputs = json.loads(attributes["GANSynthesis.Inputs"])
    origin = ", ".join(f"'{each['name']}' ({role})" for role, each in inputs.items())
    node.SetDescription(
        f"{attributes['GANSynthesis.Notice'].capitalize()}. "
        f"Made by GANSynthesis {attributes['GANSynthesis.Version']}, "
        f"model {attributes['GANSynthesis.Model']} ({attributes['GANSynthesis.ModelHash'][:12]}), "
        f"{f'from {origin}, ' if origin else ''}{attributes['GANSynthesis.Date']}."
    )


def read_provenance(node) -> dict:
    """Name (without `GANSynthesis.`) -> value of a node's provenance, JSON values parsed; empty for other nodes."""
    found = {}
    for name in node.GetAttributeNames():
        if name.startswith("GANSynthesis."):
            value, short = node.GetAttribute(name), name.removeprefix("GANSynthesis.")
            found[short] = json.loads(value) if short in _JSON_VALUES else value
    return found


def _json(value) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)

