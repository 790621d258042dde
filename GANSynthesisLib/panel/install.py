"""The section of the panel that says what must be installed first, and installs it with one button."""

from GANSynthesisLib.presentation import _, sentence
from GANSynthesisLib.requirements import Missing, install, missing_requirements, torch_extension_sentence

_LINE = 70  # characters of pip's output that the label shows


class InstallSection:
    """Shown only while something is missing.

    ui: has installCollapsibleButton, installLabel, installButton and installLog. requirementsPath: the file with the
    packages. onInstalled(): called once everything has been installed.
    """

    def __init__(self, ui, requirementsPath, onInstalled):
        self.ui, self._path, self._onInstalled = ui, requirementsPath, onInstalled
        self._missing, self._installing = [], False
        self.ui.installLog.visible = False
        self.ui.installButton.connect("clicked(bool)", self.onInstallButton)
        self.refresh()

    def refresh(self) -> None:
        """Look what is missing; hide the section where nothing is. Takes some milliseconds."""
        if self._installing or self.ui is None:
            return
        self._missing = missing_requirements(self._path)
        self.ui.installCollapsibleButton.visible = bool(self._missing)
        if self._missing:
            reason = self._whyNot()
            self.ui.installLabel.text = " ".join(words for words in (what_is_missing(self._missing), reason) if words)
            self.ui.installButton.enabled = not reason
            self.ui.installButton.toolTip = reason or _("Installs what is missing; Slicer asks first.")

    def readiness(self) -> str:
        """One sentence on what must be installed before anything can run; empty where nothing must."""
        if self._installing:
            return _("Wait until the installation has ended.")
        if not self._missing:
            return ""
        return self._whyNot() or _("Python packages are missing: click Install.")

    def onInstallButton(self, checked=False) -> None:
        """Install everything; the label and the log follow what pip says."""
        self._installing = True
        self.ui.installButton.enabled = False
        self.ui.installButton.toolTip = self.readiness()
        self.ui.installLog.clear()
        self.ui.installLog.visible = True
        self.ui.installLabel.text = _("Installing; this may take some minutes…")
        install(self._path, self._onLine, self._onDone)

    def close(self) -> None:
        """The panel goes away; an installation that goes on no longer shows anything."""
        self.ui = None

    def _whyNot(self) -> str:
        needs_torch = any(each.requirement == "torch" for each in self._missing)
        return torch_extension_sentence() if needs_torch else ""

    def _onLine(self, line: str) -> None:
        if self.ui is None:
            return
        self.ui.installLog.appendPlainText(line)
        short = line.strip()
        self.ui.installLabel.text = _("Installing: {line}").format(
            line=short if len(short) <= _LINE else short[: _LINE - 1] + "…")

    def _onDone(self, problem: str) -> None:
        self._installing = False
        if self.ui is None:
            return
        self.refresh()
        if problem:
            self.ui.installLabel.text = sentence(problem)
        elif not self._missing:
            self.ui.installLog.visible = False
            self._onInstalled()


def what_is_missing(missing: list[Missing]) -> str:
    """What will be installed, and how large the download is, in a sentence."""
    names = ", ".join(f"{each.name} ({_size(each.megabytes)})" for each in missing)
    total = sum(each.megabytes for each in missing)
    return _("Before the first run these must be installed: {names}; a download of about {total}.").format(
        names=names, total=_size(total))


def _size(megabytes: int) -> str:
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{megabytes} MB"
