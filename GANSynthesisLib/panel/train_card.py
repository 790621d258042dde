"""The card of a user's own model, edited in the panel and written into the model file."""

import dataclasses
import warnings

import qt

from GANSynthesisLib import jobs, models
from GANSynthesisLib.presentation import _, port_title

_GRACE = 30.0  # seconds that writing a large file may take when the panel is closed in the middle of it


class CardEditor:
    """Edits what a run cannot know: title, description, anatomy, license, names of the modalities.

    A worker writes the file, carried on by `poll()`: models may be large.
    """

    def __init__(self, ui):
        self.ui, self._models, self._ports = ui, {}, {}
        self._worker, self._job, self._saving = jobs.worker("short"), None, None  # and what becomes of the model
        ui.cardModelSelector.connect("currentIndexChanged(int)", self._show)
        ui.saveCardButton.connect("clicked(bool)", self.onSaveButton)
        self._show()

    def refresh(self, name: str = "") -> None:
        """List the user's models anew and choose one; without a name, the one that was chosen."""
        selector, name = self.ui.cardModelSelector, name or self.ui.cardModelSelector.currentText
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # files that cannot be used are told of in the Apply tab
            own = [each for each in models.list_models() if each.path.parent == models.user_models_folder()]
        changed = {each.card.name: each for each in own} != self._models
        self._models = {each.card.name: each for each in own}
        if not changed and name == selector.currentText:
            return  # what is being typed stays
        blocked = selector.blockSignals(True)
        selector.clear()
        selector.addItems(list(self._models))
        selector.currentIndex = max(selector.findText(name), 0) if self._models else -1
        selector.blockSignals(blocked)
        self._show()

    def onSaveButton(self, checked=False) -> None:
        """Have the card written into the model file; the weights stay as they are."""
        model = self._models[self.ui.cardModelSelector.currentText]
        try:
            card = self._edited(model.card)
            self._job = self._worker.start("card", {"model": str(model.path), "card": card.to_json()}, _GRACE)
        except (models.ModelError, jobs.JobError) as error:
            self.ui.cardStatusLabel.text = str(error)
            return
        self._saving = dataclasses.replace(model, card=card)
        self.ui.cardStatusLabel.text = _("Saving…")
        self._allow()

    def poll(self) -> None:
        """See whether the file is written."""
        if self._job is None:
            return
        self._worker.poll()
        if not self._job.finished:
            return
        job, model, self._job = self._job, self._saving, None
        if job.state == "done":
            self._models[model.card.name] = model
        self.ui.cardStatusLabel.text = job.error or _("Saved in {path}.").format(path=model.path)
        self._allow()

    def _edited(self, card):
        ui = self.ui

        def named(ports, side: str):
            return tuple(
                dataclasses.replace(port, modality=self._ports[side, port.name].text.strip())
                if (side, port.name) in self._ports else port
                for port in ports
            )

        return dataclasses.replace(
            card, title=ui.cardTitleLineEdit.text.strip(), description=ui.cardDescriptionTextEdit.plainText.strip(),
            anatomy=ui.cardAnatomyLineEdit.text.strip(), licence=ui.cardLicenceLineEdit.text.strip(),
            inputs=named(card.inputs, "input"), outputs=named(card.outputs, "output"),
        )

    def _show(self, *_arguments) -> None:
        ui, model = self.ui, self._models.get(self.ui.cardModelSelector.currentText)
        card = model.card if model else None
        ui.cardTitleLineEdit.text = card.title if card else ""
        ui.cardDescriptionTextEdit.plainText = card.description if card else ""
        ui.cardAnatomyLineEdit.text = card.anatomy if card else ""
        ui.cardLicenceLineEdit.text = card.licence if card else ""
        ui.cardStatusLabel.text = ""
        self._showPorts(card)
        self._allow()

    def _allow(self) -> None:
        """Switch the editor on or off; the tool tip of its button says why it is off."""
        reason = "" if self._models else _("There is no model of your own yet: train one.")
        if self._job is not None:
            reason = _("The card is being saved: wait a moment.")
        for name in ("cardModelSelector", "cardTitleLineEdit", "cardDescriptionTextEdit", "cardAnatomyLineEdit",
                     "cardLicenceLineEdit", "cardPortsWidget", "saveCardButton"):
            getattr(self.ui, name).enabled = not reason
        self.ui.saveCardButton.toolTip = reason or _(
            "Write these texts into the model file; its weights are not changed.")

    def _showPorts(self, card) -> None:
        """A line for the modality of each input and output that has one."""
        form, self._ports = self.ui.cardPortsWidget.layout(), {}
        while form.rowCount():
            form.removeRow(0)
        sides = {"input": card.inputs, "output": card.outputs} if card else {}
        for side, ports in sides.items():
            for port in ports:
                if not port.modality:
                    continue
                line = qt.QLineEdit(port.modality)
                line.setObjectName(f"{side}_{port.name}")
                line.toolTip = _("Modality of the {side} '{port}', as users are to read it: T1, CT, ….").format(
                    side=_("input") if side == "input" else _("output"), port=port.name)
                title = port_title(dataclasses.replace(port, modality="")) if side == "input" else _("Output")
                form.addRow(qt.QLabel(f"{title}:"), line)
                self._ports[side, port.name] = line
