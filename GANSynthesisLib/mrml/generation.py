"""Generated images as nodes: what they are called, and what their provenance says they were to be."""

from __future__ import annotations

import json


def image_name(card, result, output: str) -> str:
    """Name of the node of `image` or `image_3`: "Lesions [synthetic CT benign 3]"."""
    told = _told(result, output)
    shown = [card.output("image").modality or "volume", told.get("class", ""),
             f"{told['value']:.4g} {card.settings.get('value_unit', '')}".strip() if "value" in told else "",
             output.removeprefix("image").lstrip("_")]
    return f"{card.title} [synthetic {' '.join(text for text in shown if text)}]"


def asked_attributes(result, output: str) -> dict[str, str]:
    """Node attributes beside those of the run: what a generated image was to be; none for anything else."""
    return {f"GANSynthesis.{name.capitalize()}": value if isinstance(value, str) else json.dumps(value)
            for name, value in _told(result, output).items()}


def _told(result, output: str) -> dict:
    return result.report.get("images", {}).get(output, {})
