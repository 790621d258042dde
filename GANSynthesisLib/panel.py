"""Fills the panel's widgets from models and cards. The widgets come as arguments: nothing of Qt is imported here."""

from itertools import zip_longest

from GANSynthesisLib import presentation
from GANSynthesisLib.card import Card
from GANSynthesisLib.presentation import _


def offer(comboBox, items: list[tuple[str, str]], chosen: str) -> str:
    """Fill a combo box with (title, data), choose the data given, else the first; returns the data chosen, or ""."""
    blocked = comboBox.blockSignals(True)
    if [(comboBox.itemText(index), comboBox.itemData(index)) for index in range(comboBox.count)] != items:
        comboBox.clear()
        for title, data in items:
            comboBox.addItem(title, data)
    comboBox.currentIndex = max(comboBox.findData(chosen), 0) if items else -1
    comboBox.blockSignals(blocked)
    return comboBox.currentData or ""


def offer_models(ui, models: dict, task: str, name: str) -> None:
    """Show the tasks that the models (by name) can do, the models of the task, and what the chosen one needs."""
    possible = {each for model in models.values() for each in model.card.tasks}
    tasks = [(title, each) for each, title in presentation.task_titles().items() if each in possible]
    task = offer(ui.taskSelector, tasks, task)
    names = [(model.card.title, model.card.name) for model in models.values() if task in model.card.tasks]
    name = offer(ui.modelSelector, names, name)
    show_card(ui, models[name].card if name else None, task)


def show_card(ui, card: Card | None, task: str) -> None:
    """Show a model's summary, its inputs under their names, and the outputs of the task; hide the rest."""
    ports = presentation.input_ports(card, task) if card else []
    outputs = [port.name for port in presentation.output_ports(card, task)] if card else []
    ui.cardLabel.text = presentation.card_summary(card, task) if card else ""
    ui.inputsCollapsibleButton.visible = bool(ports)
    ui.outputsCollapsibleButton.visible = bool(outputs)
    labels = [ui.inputLabel1, ui.inputLabel2, ui.inputLabel3, ui.inputLabel4]
    selectors = [ui.inputSelector1, ui.inputSelector2, ui.inputSelector3, ui.inputSelector4]
    for port, label, selector in zip_longest(ports[: len(labels)], labels, selectors):
        label.visible = selector.visible = port is not None
        if port:
            label.text = presentation.port_title(port) + ":"
            label.toolTip = port.description
            selector.noneDisplay = _("None (optional)") if port.optional else _("Select a volume")
    for label, field, used in (
        (ui.outputTransformLabel, ui.outputTransformSelector, "transform" in outputs),
        (ui.outputVolumeLabel, ui.outputVolumeSelector, task == "synthesize" or "warped" in outputs),
        (ui.outputSegmentationLabel, ui.outputSegmentationSelector, task == "segment"),
        (ui.fixedLandmarksLabel, ui.fixedLandmarksSelector, task == "register"),
        (ui.movingLandmarksLabel, ui.movingLandmarksSelector, task == "register"),
        (ui.detailsCheckBox, ui.detailsCheckBox, task == "register" and len(outputs) > 2),
        (ui.countLabel, ui.countSpinBox, task == "generate"),
    ):
        label.visible = field.visible = used
    ui.outputVolumeLabel.text = _("Aligned volume:") if task == "register" else _("Output volume:")
