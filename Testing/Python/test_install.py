"""Installing what is missing: what is said before, how it goes on, and what pip's failures become."""

import importlib.metadata
import logging
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from subprocess import CalledProcessError
from types import ModuleType, SimpleNamespace

import pytest
import slicer
from panel_fixtures import MODULE

from GANSynthesisLib import requirements
from GANSynthesisLib.panel.install import InstallSection
from GANSynthesisLib.pip_errors import explain, pip_message
from GANSynthesisLib.requirements import HELD, ensure_requirements, install, missing_requirements
from SlicerHost.host import start_host


@pytest.fixture(autouse=True)
def host():
    start_host()


@pytest.fixture
def file(tmp_path) -> Path:
    """Requirements of which the first is there, the second absent and the third too old."""
    path = tmp_path / "requirements.txt"
    path.write_text("# comment\n\npytest>=1\nno-such-package>=1.5\nnumpy>=99\n")
    return path


@pytest.fixture
def absent(monkeypatch):
    """absent("torch"): as if these modules were not installed."""
    find, gone = requirements.importlib.util.find_spec, set()
    monkeypatch.setattr(
        requirements.importlib.util, "find_spec", lambda name: None if name in gone else find(name)
    )
    return gone.update


class Pip:
    """`slicer.packaging.pip_install`, in whose place a test says what pip prints and how it ends."""

    def __init__(self):
        self.calls = []

    def __call__(self, packages, **keywords):
        assert set(keywords) == {"constraints", "blocking", "show_progress", "logCallback", "completedCallback"}
        self.calls.append((packages, keywords))
        self.constraints = Path(keywords["constraints"])
        self.held = self.constraints.read_text()
        self.print, self.end = keywords["logCallback"], keywords["completedCallback"]


@pytest.fixture
def pip(monkeypatch) -> Pip:
    """Slicer 5.12 with a user who agrees to everything."""
    pip = Pip()
    monkeypatch.setattr(sys.modules["slicer.packaging"], "pip_install", pip, raising=False)
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text: True, raising=False)
    return pip


@pytest.fixture
def torch_extension(monkeypatch):
    """The PyTorch extension; returns what is asked of it, and `install` is what it does then."""
    asked = SimpleNamespace(confirmations=[], install=lambda: "torch")

    class PyTorchUtilsLogic:
        def installTorch(self, askConfirmation=False):
            asked.confirmations.append(askConfirmation)
            return asked.install()

    module = ModuleType("PyTorchUtils")
    module.PyTorchUtilsLogic = PyTorchUtilsLogic
    module.__spec__ = ModuleSpec("PyTorchUtils", None)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", module)
    return asked


# --- what is missing


def test_what_is_missing_is_listed_with_its_size(file, absent, monkeypatch):
    assert [(each.name, each.requirement) for each in missing_requirements(file)] == [
        ("no-such-package", "no-such-package>=1.5"), ("numpy", "numpy>=99")]
    absent(["torch"])
    monkeypatch.setattr(requirements.shutil, "which", lambda name: None)
    torch, other, _ = missing_requirements(file)
    assert (torch.name, torch.megabytes) == ("PyTorch", 200) and other.megabytes == requirements.UNKNOWN_MEGABYTES
    monkeypatch.setattr(requirements.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert missing_requirements(file)[0].megabytes == 2500  # with an NVIDIA card the build for CUDA comes


def test_the_size_of_every_package_that_is_asked_for_is_known():
    names = [line.split(">")[0] for line in
             (MODULE.parent / "Resources" / "requirements.txt").read_text().splitlines() if line[0] != "#"]
    assert names and set(names) <= set(requirements.MEGABYTES)


# --- installing


def test_packages_are_installed_in_the_background_and_nothing_held_is_replaced(file, pip):
    lines, ends = [], []
    install(file, lines.append, ends.append)
    ((packages, keywords),) = pip.calls
    assert packages == ["no-such-package>=1.5", "numpy>=99"] and keywords["blocking"] is False
    held = dict(line.split("==") for line in pip.held.split())
    assert held["numpy"] == importlib.metadata.version("numpy") and set(held) <= set(HELD)
    pip.print("Collecting no-such-package")
    assert lines == ["Collecting no-such-package"] and ends == []
    pip.end(0)
    assert ends == [""] and not pip.constraints.exists()


def test_failure_gives_pips_own_message_and_a_remedy(file, pip):
    ends = []
    install(file, lambda line: None, ends.append)
    for line in ("Collecting no-such-package", "ERROR: Could not install packages: [Errno 28] No space left on device",
                 "[notice] A new release of pip is available"):  # fmt: skip
        pip.print(line)
    pip.end(1)
    (problem,) = ends
    assert "[Errno 28] No space left on device" in problem and "The disk is full" in problem
    assert "notice" not in problem
    assert not pip.constraints.exists()


def test_refusal_and_a_second_installation_at_the_same_time_are_told(file, pip, monkeypatch):
    ends = []
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text: False)
    install(file, print, ends.append)
    assert "agree to their installation" in ends[0] and not pip.calls
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text: True)

    def busy(*arguments, **keywords):
        raise RuntimeError("A non-blocking pip_install is already in progress.")

    monkeypatch.setattr(sys.modules["slicer.packaging"], "pip_install", busy)
    install(file, print, ends.append)
    assert "already in progress" in ends[1] and len(ends) == 2


def test_torch_comes_through_the_pytorch_extension_only(file, pip, absent, torch_extension):
    absent(["torch"])
    ends = []
    install(file, print, ends.append)
    assert torch_extension.confirmations == [True], ends
    ((packages, _),) = pip.calls
    assert not [name for name in packages if "torch" in name]


def test_failure_of_the_pytorch_extension_is_told_in_pips_words(file, pip, absent, torch_extension):
    def fail():
        print("Looking in indexes: …")
        logging.getLogger().warning("ERROR: ProxyError('Cannot connect to proxy.')")
        raise CalledProcessError(1, "pip")

    absent(["torch"])
    torch_extension.install = fail
    lines, ends = [], []
    install(file, lines.append, ends.append)
    assert lines == ["Looking in indexes: …", "ERROR: ProxyError('Cannot connect to proxy.')"]
    assert "Cannot connect to proxy" in ends[0] and "HTTPS_PROXY" in ends[0] and not pip.calls
    torch_extension.install = lambda: None  # the user said no
    install(file, lines.append, ends.append)
    assert "agree to its installation" in ends[1]


def test_slicer_5_10_has_pips_message_too(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text: True, raising=False)

    def fail(arguments):
        assert arguments[:2] == ["no-such-package>=1.5", "numpy>=99"] and arguments[2] == "--constraint"
        assert Path(arguments[3]).is_file()
        print("ERROR: Could not find a version that satisfies the requirement x (from versions: none)")
        raise CalledProcessError(1, "pip")

    monkeypatch.setattr(slicer.util, "pip_install", fail, raising=False)
    lines, ends = [], []
    install(file, lines.append, ends.append)
    assert "Could not find a version" in ends[0] and "PIP_FIND_LINKS" in ends[0] and len(lines) == 1
    with pytest.raises(RuntimeError, match="PIP_FIND_LINKS"):
        ensure_requirements(file)


def test_nothing_is_installed_by_tests_of_slicer(file, pip, monkeypatch):
    ends = []
    monkeypatch.setattr(type(slicer.app), "testingEnabled", lambda self: True)
    install(file, lambda line: None, ends.append)
    assert ends == [""] and not pip.calls


# --- pip's words


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("WARNING: ProxyError('Cannot connect to proxy.', OSError('Tunnel connection failed: 407'))", "HTTPS_PROXY"),
        ("Failed to establish a new connection: [Errno -3] Temporary failure in name resolution", "PIP_FIND_LINKS"),
        ("ERROR: No matching distribution found for x", "update Slicer"),
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("ERROR: [WinError 5] Access is denied: 'C:\\\\Slicer\\\\lib'", "close other running Slicers"),
        ("SSLError(SSLCertVerificationError(1, 'CERTIFICATE_VERIFY_FAILED'))", "PIP_CERT"),
        ("ERROR: ResolutionImpossible: for help visit", "update Slicer"),
    ],
)
def test_known_failures_come_with_a_remedy(line, remedy):
    words = explain(["Collecting x", line])
    assert line.removeprefix("ERROR: ") in words and remedy in words.replace(line, "")


def test_message_of_pip_is_its_errors_else_its_last_lines():
    lines = ["Collecting a", "ERROR: one", "more", "ERROR: one", "ERROR: two", "[notice] new release", ""]
    assert pip_message(lines) == "one; two"
    assert pip_message(["a", "b", "c", "d", "e", "[notice] f"]) == "b; c; d; e"
    assert explain([]) == "" and explain(["strange"]) == "Strange."


# --- the section of the panel


@pytest.fixture
def ui():
    import ctk
    import qt

    return SimpleNamespace(installCollapsibleButton=ctk.ctkCollapsibleButton(), installLabel=qt.QLabel(),
                           installButton=qt.QPushButton("Install"), installLog=qt.QPlainTextEdit())


def test_section_shows_what_is_missing_and_hides_itself_once_it_is_there(ui, file, pip):
    installed = []
    section = InstallSection(ui, file, lambda: installed.append(True))
    assert ui.installCollapsibleButton.visible and not ui.installLog.visible
    assert "no-such-package (10 MB), numpy (10 MB); a download of about 20 MB" in ui.installLabel.text
    assert "click Install" in section.readiness()
    ui.installButton.click()
    assert not ui.installButton.enabled and "Wait" in section.readiness() and ui.installLog.visible
    section.refresh()  # the user goes to another tab meanwhile
    assert not ui.installButton.enabled
    pip.print("Downloading no_such_package-1.5-py3-none-any.whl (1.2 MB)")
    assert "Downloading no_such_package" in ui.installLabel.text
    assert "Downloading no_such_package" in ui.installLog.toPlainText()
    file.write_text("pytest>=1\n")  # as if it were there now
    pip.end(0)
    assert installed == [True] and section.readiness() == "" and not ui.installCollapsibleButton.visible


def test_section_says_why_it_failed_and_can_be_tried_again(ui, file, pip):
    installed = []
    section = InstallSection(ui, file, lambda: installed.append(True))
    ui.installButton.click()
    pip.print("ERROR: Permission denied")
    pip.end(1)
    assert "Permission denied" in ui.installLabel.text and "close other running Slicers" in ui.installLabel.text
    assert ui.installButton.enabled and ui.installLog.visible and not installed and section.readiness()
    ui.installButton.click()
    assert len(pip.calls) == 2 and ui.installLog.toPlainText() == ""


def test_section_sends_to_the_extensions_manager_where_the_pytorch_extension_is_absent(ui, file, absent):
    absent(["torch", "PyTorchUtils"])
    section = InstallSection(ui, file, lambda: None)
    assert 'install the extension "PyTorch"' in ui.installLabel.text
    assert not ui.installButton.enabled and 'extension "PyTorch"' in ui.installButton.toolTip
    assert section.readiness().startswith('PyTorch is needed: install the extension "PyTorch"')


def test_closed_panel_hears_no_more_of_an_installation(ui, file, pip):
    installed = []
    section = InstallSection(ui, file, lambda: installed.append(True))
    ui.installButton.click()
    section.close()
    pip.print("Collecting")
    pip.end(0)
    assert not installed and ui.installLog.toPlainText() == ""
