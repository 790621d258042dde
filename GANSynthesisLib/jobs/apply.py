"""Applying a model in a worker: volumes in and out through an exchange."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from GANSynthesisLib.inference import apply_model, generate
from GANSynthesisLib.jobs.exchange import Exchange
from GANSynthesisLib.models import load_model
from GANSynthesisLib.transforms import SpatialTransform


def apply_job(arguments: dict[str, Any], session) -> list[dict[str, Any]]:
    """Apply the model file `model` to each of `frames` (role -> described volume) in the exchange folder `folder`.

    outputs, and options as of `inference.apply_model`. Gives, per frame, described outputs by name and the report.
    """
    exchange, model = Exchange(arguments["folder"]), load_model(Path(arguments["model"]))
    frames, answers = arguments["frames"], []
    for number, frame in enumerate(frames):
        volumes = {role: exchange.read(described) for role, described in frame.items()}

        def say(fraction: float, text: str, number=number) -> None:
            item = f"item {number + 1} of {len(frames)}: " if len(frames) > 1 else ""
            session.progress((number + fraction) / len(frames), item + text)

        result = apply_model(model, volumes, outputs=arguments["outputs"], progress=say, cancelled=session.cancelled,
                             **arguments["options"])
        answers.append(_described(result, exchange))
    return answers


def generate_job(arguments: dict[str, Any], session) -> list[dict[str, Any]]:
    """Generate `count` images with the model file `model`; mask: a described volume, or None; options as of
    `inference.generate`."""
    exchange, mask = Exchange(arguments["folder"]), arguments["mask"]
    result = generate(load_model(Path(arguments["model"])), arguments["count"], mask=mask and exchange.read(mask),
                      progress=session.progress, cancelled=session.cancelled, **arguments["options"])
    return [_described(result, exchange)]


def _described(result, exchange: Exchange) -> dict[str, Any]:
    outputs = {}
    for name, value in result.outputs.items():
        # Composed here, a transform enters the scene at once; on 128³ voxels it takes a second.
        outputs[name] = exchange.write(value.as_field() if isinstance(value, SpatialTransform) else value)
    return {"outputs": outputs, "report": result.report}
