"""Files written by a worker for the thread of the windows, which does not wait for disks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from GANSynthesisLib.card import Card
from GANSynthesisLib.files import replaced_whole, sitk_image, write_volume
from GANSynthesisLib.jobs.exchange import Exchange
from GANSynthesisLib.models import change_card
from GANSynthesisLib.progress import Cancelled
from GANSynthesisLib.volumes import Volume


def card_job(arguments: dict[str, Any], session) -> str:
    """Give the model file `model` the `card` (JSON text); the file changes whole or not at all. Gives its path."""
    path = Path(arguments["model"])
    for left in path.parent.glob(f".{path.name}.*.part"):  # by a worker that was ended in the middle
        left.unlink(missing_ok=True)
    return str(change_card(path, Card.from_json(arguments["card"])).path)


def case_file_job(arguments: dict[str, Any], session) -> str:
    """Write the described `volume` in the exchange folder `folder` to the NIfTI file `path`, whose folder is there.

    channels: 0, or how many structures a label volume has that is written as one channel of 0 and 1 for each of them.
    """
    path, volume = Path(arguments["path"]), Exchange(arguments["folder"]).read(arguments["volume"])
    if session.cancelled() or not path.parent.is_dir():  # whoever asked has removed it
        raise Cancelled("The cases are not wanted any more.")
    if arguments["channels"]:
        _write_channels(volume, path, arguments["channels"])
    else:
        write_volume(volume, path)
    return str(path)


def _write_channels(labels: Volume, path: Path, count: int) -> None:
    """A 4D file with a channel of 0 and 1 for every label value 1 … count."""
    import SimpleITK as sitk

    channels = [sitk_image(labels.with_voxels((labels.voxels == value).astype(np.uint8)))
                for value in range(1, count + 1)]
    with replaced_whole(path) as beside:
        sitk.WriteImage(sitk.JoinSeries(channels), str(beside))
