"""What tabs show while something runs: the button that cancels, the bar, one line of text, and what is held still."""

from GANSynthesisLib import presentation
from GANSynthesisLib.presentation import _


class RunDisplay:
    """The widgets of one tab that show a run.

    ui: has progressBar, statusLabel and `<section>CollapsibleButton` for each of `sections`, which hold the choices.
    button: starts a run under the name `start`, and cancels it. whatCancelDoes: the button's tool tip during a run.
    """

    def __init__(self, ui, button, start: str, whatCancelDoes: str, sections: tuple[str, ...]):
        self.ui, self.button = ui, button
        self._start, self._whatCancelDoes, self._sections = start, whatCancelDoes, sections

    def show(self, running: bool) -> None:
        """Turn the button into Cancel and hold the choices still while a run goes on, or back."""
        self.button.text = _("Cancel") if running else self._start
        if running:
            self.button.enabled = True
        self.button.toolTip = self._whatCancelDoes if running else ""
        self.ui.progressBar.value = 0
        self.ui.progressBar.visible = running
        for name in self._sections:
            section = getattr(self.ui, f"{name}CollapsibleButton")
            section.enabled = not running
            section.toolTip = _("A run goes on: wait for it, or cancel it first.") if running else ""

    def progress(self, job) -> None:
        """How far it is. job: has state, fraction, text and remaining, as of `jobs.Job`."""
        self.ui.progressBar.value = round(100 * job.fraction)
        text = presentation.progress_text(job.state, job.text, job.remaining)
        if self.ui.statusLabel.text != text:
            self.ui.statusLabel.text = text
