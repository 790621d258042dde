"""The part of the Apply tab in which a task and a model are chosen, and what the choice shows and hides."""

from itertools import zip_longest

from GANSynthesisLib import presentation
from GANSynthesisLib.asking import MASK, choices_of
from GANSynthesisLib.card import Card
from GANSynthesisLib.options import has_uncertainty
from GANSynthesisLib.presentation import _


class ModelChooser:
    """Task buttons, search box, list of models and card of an Apply tab.

    ui: the tab's widgets. onChange(): called when the user chose another task or model; `task` and `name` say which.
    """

    def __init__(self, ui, onChange):
        self.ui, self.task, self.name = ui, "", ""
        self._models, self._listed, self._onChange = {}, [], onChange
        self._buttons = {task: getattr(ui, f"{task}Button") for task in presentation.task_titles()}
        for task, button in self._buttons.items():
            button.text = presentation.task_titles()[task]
            button.connect("clicked(bool)", lambda checked=True, task=task: self._chose(task, self.name))
        ui.modelSearchBox.connect("textChanged(QString)", self._onSearch)
        ui.modelList.connect("currentRowChanged(int)", self._onRow)
        # A section that unfolds shows everything in it, also what was hidden meanwhile.
        for section in (ui.inputsCollapsibleButton, ui.outputsCollapsibleButton, ui.advancedCollapsibleButton):
            section.connect("contentsCollapsed(bool)", lambda collapsed: self._show())

    @property
    def card(self) -> Card | None:
        return self._models[self.name].card if self.name else None

    @property
    def model(self):
        return self._models.get(self.name)

    def offer(self, models: dict, task: str, name: str) -> None:
        """List models (by name), with this task and model chosen where they are there, else the first."""
        self._models = models
        possible = {each for model in models.values() for each in model.card.tasks}
        offered = [each for each in self._buttons if each in possible]
        self.task = task if task in offered else next(iter(offered), "")
        for each, button in self._buttons.items():
            button.enabled = each in possible
            button.toolTip = presentation.task_tip(each, each in possible)
            button.checked = each == self.task
        self._list(name)

    def _list(self, name: str) -> None:
        words = self.ui.modelSearchBox.text
        fitting = [model.card for model in self._models.values() if self.task in model.card.tasks]
        cards = [card for card in fitting if presentation.matches(card, words)]
        self._listed = [card.name for card in cards]
        self.name = name if name in self._listed else next(iter(self._listed), "")
        blocked = self.ui.modelList.blockSignals(True)
        self.ui.modelList.clear()
        self.ui.modelList.addItems([presentation.model_lines(card, self.task) for card in cards])
        self.ui.modelList.currentRow = self._listed.index(self.name) if self.name else -1
        self.ui.modelList.blockSignals(blocked)
        self.ui.modelSearchBox.enabled = bool(fitting)
        self._show()

    def _show(self) -> None:
        show_card(self.ui, self.card, self.task)
        if not self.name and self.ui.modelSearchBox.text:
            self.ui.cardLabel.text = _("No model of this task has these words on its card: clear the search.")

    def _onSearch(self, text) -> None:
        self._list(self.name)
        self._onChange()

    def _onRow(self, row) -> None:
        self._chose(self.task, self._listed[row] if 0 <= row < len(self._listed) else "")

    def _chose(self, task: str, name: str) -> None:
        self.offer(self._models, task, name)
        self._onChange()


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
            kind = "LabelMap" if port.name == MASK else "Scalar"
            if list(selector.nodeTypes) != [f"vtkMRML{kind}VolumeNode"]:
                selector.nodeTypes = [f"vtkMRML{kind}VolumeNode"]
            selector.noneDisplay = _("None (optional)") if port.optional else _("Select a volume")
    registers, generates = task == "register", task == "generate"
    for label, field, used in (
        (ui.outputTransformLabel, ui.outputTransformSelector, "transform" in outputs),
        (ui.outputVolumeLabel, ui.outputVolumeSelector, task in ("synthesize", "reconstruct") or "warped" in outputs),
        (ui.outputSegmentationLabel, ui.outputSegmentationSelector, task == "segment"),
        (ui.fixedLandmarksLabel, ui.fixedLandmarksSelector, registers),
        (ui.movingLandmarksLabel, ui.movingLandmarksSelector, registers),
        (ui.regionLabel, ui.regionSelector, task in ("synthesize", "segment", "reconstruct")),
        (ui.detailsCheckBox, ui.detailsCheckBox, registers and len(outputs) > 2),
        (ui.countLabel, ui.countSpinBox, generates),
        (ui.classLabel, ui.classSelector, generates and card is not None and bool(choices_of(card).classes)),
        (ui.precisionLabel, ui.precisionSelector, not generates),
        (ui.tileLabel, ui.tileSpinBox, card is not None and card.context == "3D" and not (registers or generates)),
        (ui.optimizeLabel, ui.optimizeSpinBox, registers),
        (ui.samplesLabel, ui.samplesSpinBox, card is not None and has_uncertainty(card)),
    ):
        label.visible = field.visible = used
    ui.outputVolumeLabel.text = _("Aligned volume:") if registers else _("Output volume:")
