"""Comparing a result with a reference in a worker: volumes in and the error map out through an exchange."""

from __future__ import annotations

from typing import Any

from GANSynthesisLib.evaluation.comparison import compare
from GANSynthesisLib.jobs.exchange import Exchange


def evaluate_job(arguments: dict[str, Any], session) -> dict[str, Any]:
    """Compare `result` with `reference` within `mask`, in the exchange folder `folder`.

    Each is a described volume, or a list of them (layers of a segmentation); mask may also be "body" or None.
    error_map: whether to give that. Gives the `comparison` in JSON values and the described `error_map`, or None.
    """
    exchange = Exchange(arguments["folder"])
    inputs = {role: _read(exchange, arguments[role]) for role in ("result", "reference", "mask")}
    found = compare(**inputs, progress=session.progress, cancelled=session.cancelled)
    wanted = arguments["error_map"] and found.error_map is not None
    return {"comparison": found.as_json(), "error_map": exchange.write(found.error_map) if wanted else None}


def _read(exchange: Exchange, described):
    if isinstance(described, list):
        return [exchange.read(each) for each in described]
    return exchange.read(described) if isinstance(described, dict) else described
