"""What results are looked at with, made in a worker: checkerboards, differences and surfaces."""

from __future__ import annotations

from typing import Any

from GANSynthesisLib.fusion import checkerboard, difference
from GANSynthesisLib.jobs.exchange import Exchange
from GANSynthesisLib.progress import stop_if
from GANSynthesisLib.surfaces import closed_surface


def checkerboard_job(arguments: dict[str, Any], session) -> dict[str, Any]:
    """The described checkerboard of the volumes `first` and `second` in the exchange folder `folder`."""
    exchange = Exchange(arguments["folder"])
    return exchange.write(checkerboard(*(exchange.read(arguments[name]) for name in ("first", "second"))))


def difference_job(arguments: dict[str, Any], session) -> dict[str, Any]:
    """The described `volume` of what `second` is more than `first`, and its `reach` (see `fusion.difference`)."""
    exchange = Exchange(arguments["folder"])
    found, reach = difference(*(exchange.read(arguments[name]) for name in ("first", "second")))
    return {"volume": exchange.write(found), "reach": reach}


def surfaces_job(arguments: dict[str, Any], session) -> list[dict[str, Any]]:
    """A described surface for every one of `segments`, {layer, value} in the label volumes `layers`; `smoothing`."""
    exchange, made = Exchange(arguments["folder"]), []
    layers = [exchange.read(each) for each in arguments["layers"]]
    for segment in arguments["segments"]:
        stop_if(session.cancelled)
        session.progress(len(made) / len(arguments["segments"]), "making surfaces")
        surface = closed_surface(layers[segment["layer"]], segment["value"], arguments["smoothing"])
        made.append(exchange.write(surface))
    return made
