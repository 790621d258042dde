"""Unfinished runs in the panel: resume one, or discard it; and which name a new run may have."""

import re

import slicer

from GANSynthesisLib import models
from GANSynthesisLib.panel.choices import offer
from GANSynthesisLib.presentation import _
from GANSynthesisLib.training.unfinished import discard_run, unfinished_runs

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


class RunList:
    """Runs in the folder of the user's models that can go on. onResume(arguments of the job): called to resume one."""

    def __init__(self, ui, onResume):
        self.ui, self._onResume, self._runs = ui, onResume, {}
        ui.resumeButton.connect("clicked(bool)", self.onResumeButton)
        ui.discardButton.connect("clicked(bool)", self.onDiscardButton)

    def __contains__(self, name: str) -> bool:
        return name in self._runs

    def refresh(self, running: str = "") -> None:
        """List the runs anew, without the one of that name, which is under way."""
        self._runs = unfinished_runs(models.user_models_folder())
        self._runs.pop(running, None)
        offer(self.ui.resumeSelector, [(name, name) for name in self._runs], self.ui.resumeSelector.currentData or "")
        for widget in self._widgets():
            widget.visible = bool(self._runs)

    def allow(self, reason: str) -> None:
        """Switch the buttons on, or off with one sentence on why."""
        for widget in self._widgets():
            widget.enabled = not reason
        self.ui.resumeButton.toolTip = reason or _("Go on from the last checkpoint, with the settings of that run.")
        self.ui.discardButton.toolTip = reason or _("Delete the unfinished run.")

    def onResumeButton(self, checked=False) -> None:
        self._onResume(self._runs[self.ui.resumeSelector.currentData])

    def onDiscardButton(self, checked=False) -> None:
        """Delete the chosen run, if the user agrees."""
        name = self.ui.resumeSelector.currentData
        if slicer.util.confirmOkCancelDisplay(_("Delete the unfinished run '{name}'?").format(name=name)):
            discard_run(self._runs[name])
            self.refresh()

    def _widgets(self) -> tuple:
        return self.ui.resumeLabel, self.ui.resumeSelector, self.ui.resumeButton, self.ui.discardButton


def name_problem(name: str) -> str:
    """One sentence on why a new model cannot have that name; empty where it can."""
    folder = models.user_models_folder()
    if not name:
        return _("Give the model a name.")
    if not _NAME.fullmatch(name):
        return _("The model name may have letters, digits and . _ + - only, and starts with a letter or digit.")
    if any((each / f"{name}.safetensors").exists() for each in (folder, models.shipped_models_folder())):
        return _("There is a model '{name}' already, which is not replaced: give another name.").format(name=name)
    if name in unfinished_runs(folder):
        return _("There is an unfinished run '{name}': resume or discard it, or give another name.").format(name=name)
    return ""
