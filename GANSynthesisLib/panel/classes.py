"""The class that generated images are to be of, where the chosen model knows classes."""

from collections.abc import Callable

from GANSynthesisLib.asking import choices_of
from GANSynthesisLib.card import Card
from GANSynthesisLib.panel.choices import offer
from GANSynthesisLib.presentation import _


class ClassChoice:
    """Label and combo box of the Apply tab. onChange(name): the user chose another class, "" being all in turn."""

    def __init__(self, ui, onChange: Callable[[str], None]):
        self.ui = ui
        chosen = ui.classSelector
        chosen.connect("currentIndexChanged(int)", lambda index: onChange(chosen.currentData or ""))

    def offer(self, card: Card | None, chosen: str) -> None:
        """List the classes of a model, with this one chosen where it has it."""
        names = choices_of(card).classes if card is not None else ()
        items = [(_("All in turn"), ""), *((name, name) for name in names)] if names else []
        offer(self.ui.classSelector, items, chosen)

    def options(self) -> dict[str, str]:
        """For `inference.generate`."""
        name = self.ui.classSelector.currentData
        return {"class_name": name} if name else {}
