"""The Train tab: a method, cases, settings; Start has the worker train a model, which goes on while the user works."""

import json
from pathlib import Path

import slicer

from GANSynthesisLib import jobs, models
from GANSynthesisLib.panel.choices import offer
from GANSynthesisLib.panel.settings_form import SettingsForm
from GANSynthesisLib.panel.train_card import CardEditor
from GANSynthesisLib.panel.train_check import CaseCheck
from GANSynthesisLib.panel.train_data import DataSection, unwritable
from GANSynthesisLib.panel.train_runs import RunList, name_problem
from GANSynthesisLib.panel.train_systems import SystemCatalog
from GANSynthesisLib.panel.train_watch import RunWatch
from GANSynthesisLib.presentation import _
from GANSynthesisLib.training.cases import CONDITIONS

_GRACE = 30.0  # seconds that a stopped run has to write its checkpoint
_DEVICES = [(name, name) for name in ("auto", "cpu", "cuda")]
_PRECISIONS = [(name, name) for name in ("32", "bf16")]


class TrainTab:
    """Trains models in the background. The worker keeps the run: a new tab, of a reloaded panel, finds it there.

    widget: root of TrainTab.ui. logic: the module's logic. readiness(): one sentence on what must be installed first,
    empty where nothing must.
    """

    title = _("Train")

    def __init__(self, widget, logic, readiness=lambda: ""):
        self.ui = slicer.util.childWidgetVariables(widget)
        self._readiness = readiness
        self.worker = jobs.worker("training")
        self._run, self._checked, self._refused, self._trainAfterCheck = None, None, None, False
        self._name, self._seen, self._reason = "", "", ""
        self.catalog = SystemCatalog(self.worker)
        self.form = SettingsForm(self.ui.commonWidget.layout(), self.ui.moreGroupBox.layout(), self._update)
        self.data = DataSection(self.ui, self._update)
        self.check = CaseCheck(self.worker, self.data)
        self.runs = RunList(self.ui, self._start)
        self.watch, self.card = RunWatch(self.ui), CardEditor(self.ui)
        offer(self.ui.deviceSelector, _DEVICES, "auto")
        offer(self.ui.precisionSelector, _PRECISIONS, "32")
        self.ui.checkButton.connect("clicked(bool)", self.onCheckButton)
        self.ui.startButton.connect("clicked(bool)", self.onStartButton)
        self.ui.systemSelector.connect("currentIndexChanged(int)", self._onSystem)
        self.ui.nameLineEdit.connect("textChanged(QString)", self._update)
        self.ui.progressBar.visible = False
        job = self.worker.job
        if job is not None and job.work == "train":
            self._takeUp(job)
        self._listSystems()
        self.runs.refresh(self._runName() if self.training else "")

    # --- life of the panel

    @property
    def training(self) -> bool:
        """Whether a run is under way."""
        return self._run is not None and not self._run.finished

    def enter(self) -> None:
        """The user comes to the tab; models and runs may have been added meanwhile."""
        if not self._readiness():
            self.catalog.ask()
        self.card.refresh()
        self.runs.refresh(self._runName() if self.training else "")
        self._update()

    def poll(self) -> None:
        """Carry on what is under way."""
        self.worker.poll()
        self.card.poll()
        self.data.table.poll()
        if self.catalog.poll():
            self._listSystems()
        if self.check.stage:
            ended = self.check.poll()
            self.ui.statusLabel.text = self.check.text or self.check.error
            if ended:
                self._endCheck()
        if self._run is not None:
            self._followRun()
        if self.worker.state != self._seen:
            self._update()

    def sceneClosing(self) -> None:
        """The scene goes away: volumes that are being written come from it; a run goes on."""
        if self.check.stage == "writing":
            self.check.cancel()
        if self.data.fromScene:
            self._checked = None
            self.data.clear()
        self.watch.sceneClosing()
        self._update()

    def close(self) -> None:
        """The panel goes away; a run goes on, and a new tab takes it up."""
        self.check.cancel()
        self.data.removeWritten()
        self._run = None

    # --- what is chosen

    def _listSystems(self) -> None:
        system = self.ui.systemSelector.currentData
        items = [(self.catalog[name]["title"], name) for name in self.catalog.names]
        if offer(self.ui.systemSelector, items, system or "") != system:
            self._onSystem()
        self._update()

    def _onSystem(self, *_arguments) -> None:
        """Show what the chosen system is for, its roles and its settings."""
        name = self.ui.systemSelector.currentData
        if not name:
            return
        described = self.catalog[name]
        self.ui.summaryLabel.text = described["summary"].replace("`", "'")
        self.form.show(described["settings"])
        if self.ui.nameLineEdit.text == self._name:  # not the user's own choice
            self._offerName(name)
        self._update()

    def _roles(self) -> dict[str, bool]:
        """Roles of the chosen system, which may have several sources by its settings -> whether it can do without."""
        described = self.catalog[self.ui.systemSelector.currentData]
        sources = self.form.values().get("sources", ["source"])
        roles = [name for role in described["roles"] for name in (sources if role == "source" else [role])]
        optional = described["optional_roles"]
        return {role: role in optional for role in (*roles, *optional) if role not in CONDITIONS}

    def _offerName(self, wanted: str) -> None:
        number, self._name = 1, wanted
        while name_problem(self._name):
            number += 1
            self._name = f"{wanted}-{number}"
        self.ui.nameLineEdit.text = self._name

    def _key(self) -> str:
        """What a check of the cases depends on."""
        return json.dumps([self.ui.systemSelector.currentData, self.data.choice(), self.form.values()])

    def _whyNotCheck(self) -> str:
        """One sentence on what is missing before cases can be looked at; empty when nothing is."""
        reason = self._readiness()
        if not reason and (self.catalog.asking or not self.ui.systemSelector.currentData):
            reason = self.catalog.error or _("The list of methods is on its way.")
        reason = reason or self.form.problem() or self.data.missing()
        if not reason and self.worker.state != "idle":
            reason = _("The training process is still busy: wait a moment.")
        return reason

    def _whyNotTrain(self) -> str:
        """One sentence on what is missing before a run can start; empty when nothing is."""
        reason = self._whyNotCheck() or name_problem(self.ui.nameLineEdit.text.strip())
        if not reason and self._checked == self._key():
            reason = self.data.obstacle()
        return reason

    def _update(self, *_arguments) -> None:
        """Switch controls on or off; tool tips say why they are off."""
        ui, busy = self.ui, self.training or bool(self.check.stage)
        self._seen = self.worker.state
        problem = "" if busy else self.form.problem()
        ui.settingsProblemLabel.text, ui.settingsProblemLabel.visible = problem, bool(problem)
        if not problem and not busy and ui.systemSelector.currentData:
            self.data.showRoles(self._roles())
        if self._checked is not None and not busy and (problem or self._checked != self._key()):
            self._checked = None
            self.data.clear()
        if self._refused is not None and not busy and (problem or self._refused != self._key()):
            self._refused = None
            ui.statusLabel.text = ""
        locked = _("A run is under way: its settings stay as they are.") if busy else ""
        for each in (ui.methodWidget, ui.dataWidget, ui.settingsWidget):
            each.enabled, each.toolTip = not busy, locked
        ui.nameLineEdit.enabled = not busy
        reason = "" if busy else self._whyNotTrain()
        ui.startButton.text, ui.startButton.enabled = _("Stop") if busy else _("Start"), not reason
        ui.startButton.toolTip = reason or (
            _("Stop; a run can be resumed from where it stopped.") if busy
            else _("Check the cases and train a model on them.")
        )
        if ui.statusLabel.text in ("", self._reason):
            ui.statusLabel.text = reason
        self._reason = reason
        reason = locked or self._whyNotCheck()
        ui.checkButton.enabled = not reason
        ui.checkButton.toolTip = reason or _("Look at all cases without training.")
        busy = _("The training process is busy.") if busy or self.worker.state != "idle" else ""
        self.runs.allow(self._readiness() or busy)

    # --- the check

    def onCheckButton(self, checked=False) -> None:
        """Look at the cases, and no more."""
        self._beginCheck(train=False)

    def onStartButton(self, checked=False) -> None:
        """Start, or stop what is under way."""
        if self.training:
            self._run.cancel()
            self.ui.statusLabel.text = _("Stopping: the run writes a checkpoint…")
        elif self.check.stage:
            self.check.cancel()
            self.ui.statusLabel.text = self.check.error
            self._update()
        elif self._checked == self._key():
            self._train()
        else:
            self._beginCheck(train=True)

    def _beginCheck(self, train: bool) -> None:
        self._trainAfterCheck, self._checked = train, None
        system = self.catalog[self.ui.systemSelector.currentData]
        self.check.begin(system, self.form.values(), models.user_models_folder())
        self.ui.statusLabel.text = self.check.text or self.check.error
        self._update()

    def _endCheck(self) -> None:
        if self.check.error:
            self._refused = self._key()
        else:
            self._checked = self._key()
            if self._trainAfterCheck and not self.data.obstacle():
                self._train()
        self._update()

    # --- the run

    def _train(self) -> None:
        name, folder = self.ui.nameLineEdit.text.strip(), models.user_models_folder()
        system = self.ui.systemSelector.currentData
        try:
            folder.mkdir(parents=True, exist_ok=True)
            data = self.data.handOver(folder / f"{name}.data")
        except OSError as error:
            self.ui.statusLabel.text = unwritable(folder, error)
            return
        self._start({
            "system": system, "settings": self.form.values(), "data": str(data),
            "output": str(folder / f"{name}.safetensors"), "steps": self.ui.stepsSpinBox.value,
            "seed": self.ui.seedSpinBox.value, "device": self.ui.deviceSelector.currentText,
            "precision": self.ui.precisionSelector.currentText, "leave_out": self.data.withProblems(),
            "remove_data": self.data.fromScene, "description": self.catalog[system],
        })

    def _start(self, arguments: dict) -> None:
        """Start a run, or go on with one."""
        try:
            job = self.worker.start("train", arguments, grace=_GRACE)
        except jobs.JobError as error:
            self.ui.statusLabel.text = str(error)
            return
        self._takeUp(job)
        self.runs.refresh(self._runName() if self.training else "")

    def _takeUp(self, job) -> None:
        """Show and follow a run: one just started, or one found by a new panel."""
        self._run, arguments = job, job.arguments
        self.catalog.learn(arguments["description"])
        self._listSystems()
        self.ui.systemSelector.currentIndex = self.ui.systemSelector.findData(arguments["system"])
        self.form.setValues(arguments["settings"])
        self.ui.stepsSpinBox.value, self.ui.seedSpinBox.value = arguments["steps"], arguments["seed"]
        offer(self.ui.deviceSelector, _DEVICES, arguments["device"])
        offer(self.ui.precisionSelector, _PRECISIONS, arguments["precision"])
        if not arguments["remove_data"]:
            self.ui.folderRadioButton.checked = True
            self.ui.dataPathLineEdit.currentPath = arguments["data"]
        self._name = self._runName()
        self.ui.nameLineEdit.text = self._name
        self.watch.begin(job)
        self._update()

    def _runName(self) -> str:
        """Name of the model that the run makes; empty without a run."""
        return Path(self._run.arguments["output"]).name.removesuffix(".safetensors") if self._run else ""

    def _followRun(self) -> None:
        job, ui = self._run, self.ui
        ui.progressBar.visible, ui.progressBar.value = not job.finished, round(100 * job.fraction)
        if job.state == "starting":
            ui.statusLabel.text = _("Starting…")
        elif job.state == "running":
            ui.statusLabel.text = job.text
        self.watch.poll()
        if job.finished:
            self._endRun(job)

    def _endRun(self, job) -> None:
        name = self._runName()
        self._run = self._checked = None
        self.data.clear()
        self.runs.refresh()
        if job.state == "done":
            status = _("Done: the model '{name}' is in the list of models. Complete its card below.").format(name=name)
            self.card.refresh(name)
            self.ui.cardCollapsibleButton.collapsed = False
        elif job.state == "failed":
            status = job.error
        elif name in self.runs:
            status = _("Stopped. Resume goes on from there.")
        else:
            status = _("Stopped before the first step; nothing is kept.")
        self.ui.statusLabel.text = status
        if self.ui.nameLineEdit.text == name:
            self._offerName(job.arguments["system"])
        self._update()
