"""The input guard of the Apply tab: says below the inputs what of them does not fit the model or the machine."""

import time
from typing import NamedTuple

from GANSynthesisLib import jobs, presentation
from GANSynthesisLib.card import Card
from GANSynthesisLib.steps import Steps

_SETTLED = 0.3  # seconds


class Given(NamedTuple):
    """What a run would be given: volumes by role, the region that it is restricted to or None, and the device."""

    card: Card
    volumes: dict
    region: object
    device: str

    def key(self) -> tuple:
        """What the findings depend on."""
        images = [(role, node, node.GetImageData()) for role, node in self.volumes.items()]
        return (self.card.name, self.device, self.region and (self.region.GetID(), self.region.GetMTime()),
                *((role, node.GetID(), image and image.GetMTime()) for role, node, image in images))


class InputGuard:
    """Compares inputs with what the model was trained on, once for each choice.

    ui: has guardLabel. seen: key of the choice at the last `poll`; compared: of the one that the findings are of.
    """

    def __init__(self, ui):
        self.ui, self.seen, self.compared = ui, None, None
        self._findings, self._since, self._steps = (), 0.0, None

    def poll(self, given: Given | None) -> bool:
        """Look at a choice that has stayed as it is for a moment, some milliseconds in each call; whether it is
        another one than in the last call."""
        key = given.key() if given else None
        if key != self.seen:
            self.seen, self._since, self._steps = key, time.monotonic(), None
            return True
        if given and key != self.compared and time.monotonic() - self._since >= _SETTLED:
            self._steps = self._steps or Steps(self.looking(given))
            if self._steps.advance():
                self._steps = None
        return False

    def looking(self, given: Given):
        """In steps: the findings about a choice, which are shown, too, and stay on the result."""
        key = given.key()
        if key != self.compared:
            from GANSynthesisLib.mrml.guard import looking

            # Free on the GPU of the next run, as far as the worker has told.
            gpu = None if given.device == "cpu" else jobs.worker("apply").memory.get("gpu")
            try:
                found, of_the_machine = yield from looking(given.card, given.volumes, gpu, given.region)
            except Exception:
                self.compared = key  # not again and again
                raise
            self.compared, self._findings = key, tuple(found)
            self.ui.guardLabel.text = presentation.findings_text([*found, *of_the_machine])
            self.ui.guardLabel.visible = bool(self.ui.guardLabel.text)
        return self._findings
