"""Installs, inside Slicer and after asking, what a model needs to run: PyTorch and the packages of requirements.txt.

PyTorch comes through the PyTorch extension only. What Slicer itself has (numpy, SimpleITK, vtk …) and the installed
torch are held at their versions, so that no other extension breaks. Where all is there, nothing is asked or done.
"""

import contextlib
import importlib
import importlib.metadata
import importlib.util
import io
import logging
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from subprocess import CalledProcessError

from GANSynthesisLib.pip_errors import explain
from GANSynthesisLib.presentation import _

HELD = ("torch", "torchvision", "numpy", "scipy", "SimpleITK", "vtk")
# What a download takes with all that a package needs, in megabytes, rounded up.
MEGABYTES = {"lightning-fabric": 3, "matplotlib": 25, "safetensors": 1}
UNKNOWN_MEGABYTES = 10
TORCH_MEGABYTES, TORCH_CUDA_MEGABYTES = 200, 2500


@dataclass(frozen=True)
class Missing:
    """Something to be installed: its name, what pip is asked for, and about how much is downloaded."""

    name: str
    requirement: str
    megabytes: int


def missing_requirements(path: Path | str) -> list[Missing]:
    """What of PyTorch and the requirements in that file is absent or too old; PyTorch first."""
    importlib.invalidate_caches()
    missing = []
    if importlib.util.find_spec("torch") is None:
        # Which build the PyTorch extension will choose is not known before; drivers of NVIDIA bring this program.
        size = TORCH_CUDA_MEGABYTES if shutil.which("nvidia-smi") else TORCH_MEGABYTES
        missing.append(Missing("PyTorch", "torch", size))
    for requirement in _missing_packages(path):
        megabytes = MEGABYTES.get(requirement.name.lower(), UNKNOWN_MEGABYTES)
        missing.append(Missing(requirement.name, str(requirement), megabytes))
    return missing


def torch_extension_sentence() -> str:
    """Where PyTorch has to come from first; empty where the PyTorch extension is installed."""
    return "" if importlib.util.find_spec("PyTorchUtils") is not None else _no_torch_extension()


def _no_torch_extension() -> str:
    return _('PyTorch is needed: install the extension "PyTorch" with the Extensions Manager and restart Slicer.')


def ensure_requirements(path: Path | str) -> None:
    """Have PyTorch and the requirements in that file, asking first and waiting until they are there.

    Raises `RuntimeError`, one sentence on what to do, where the user declines, the PyTorch extension is absent, or pip
    fails.
    """
    _ensure_torch()
    with _constraints() as constraints:
        try:
            from slicer.packaging import load_requirements, pip_ensure
        except ImportError:  # Slicer 5.10
            _ensure_with_pip(path, constraints)
        else:
            with _heard(lambda line: None) as heard:
                try:
                    pip_ensure(load_requirements(path), constraints=constraints, requester="GANSynthesis")
                except CalledProcessError as error:
                    raise RuntimeError(_problem(heard)) from error


def install(path: Path | str, log: Callable[[str], None], done: Callable[[str], None]) -> None:
    """Install what is missing, asking first: log(line) gets what pip prints, done(problem) is called once at the end.

    problem is empty where all went well, else a sentence with pip's own words and a remedy. PyTorch is waited for, and
    in Slicer 5.10 the packages too; else they are installed in the background, and `install` returns before.
    """
    try:
        with _heard(log) as heard:
            _ensure_torch()
        packages = [str(requirement) for requirement in _missing_packages(path)]
        if packages:
            _confirm(packages)
    except RuntimeError as error:
        done(str(error))
    except Exception as error:  # whatever the PyTorch extension raises
        done(_problem([*heard, str(error)]) if not isinstance(error, CalledProcessError) else _problem(heard))
    else:
        if packages:
            _install_packages(packages, log, done)
        else:
            done("")


def _install_packages(packages: list[str], log: Callable[[str], None], done: Callable[[str], None]) -> None:
    import slicer

    if slicer.app.testingEnabled():  # tests must not change Slicer's Python
        log("Testing mode: nothing is installed.")
        done("")
        return
    try:
        from slicer.packaging import pip_install
    except ImportError:  # Slicer 5.10
        with _heard(log) as heard, _constraints() as constraints:
            done(_pip_problem(packages, constraints, heard))
        return
    lines, folder = [], contextlib.ExitStack()

    def heard(line: str) -> None:
        lines.append(line)
        log(line)

    def completed(code: int) -> None:
        folder.close()
        done(_problem(lines) if code else "")

    constraints = folder.enter_context(_constraints())
    try:
        pip_install(packages, constraints=constraints, blocking=False, show_progress=False,
                    logCallback=heard, completedCallback=completed)
    except Exception as error:  # a second installation at the same time, say
        folder.close()
        done(_("The packages were not installed: {error}").format(error=error))


def _pip_problem(packages: list[str], constraints: Path, heard: list[str]) -> str:
    """Install with the pip of Slicer 5.10, waiting for it; the sentence on what went wrong, or nothing."""
    import slicer.util

    try:
        slicer.util.pip_install([*packages, "--constraint", str(constraints)])
    except CalledProcessError:
        return _problem(heard)
    return ""


def _problem(lines: list[str]) -> str:
    return _("The installation failed: {reason}").format(reason=explain(lines) or _("pip said nothing."))


@contextlib.contextmanager
def _heard(log: Callable[[str], None]):
    """The lines that pip prints or logs through Slicer meanwhile, each also given to `log`."""
    lines: list[str] = []
    console = sys.stdout

    def hear(text: str) -> None:
        for line in text.splitlines():
            if line.strip():
                lines.append(line.rstrip())
                with contextlib.redirect_stdout(console):  # log may print
                    log(line.rstrip())

    class Printed(io.TextIOBase):
        def write(self, text: str) -> int:
            hear(text)
            return console.write(text)

    class Logged(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            hear(record.getMessage())

    handler = Logged(logging.INFO)
    logging.getLogger().addHandler(handler)
    try:
        with contextlib.redirect_stdout(Printed()):
            yield lines
    finally:
        logging.getLogger().removeHandler(handler)


def _ensure_torch() -> None:
    if importlib.util.find_spec("torch") is not None:
        return
    try:
        import PyTorchUtils
    except ModuleNotFoundError as error:
        raise RuntimeError(_no_torch_extension()) from error
    if PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=True) is None:
        raise RuntimeError(_("PyTorch was not installed: start again and agree to its installation."))


@contextlib.contextmanager
def _constraints():
    """A file that holds pip to the installed version of each package that must be left alone."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "constraints.txt"
        path.write_text("".join(f"{name}=={version}\n" for name, version in _held_versions().items()))
        yield path


def _held_versions() -> dict[str, str]:
    """Installed version of each package that an installation must leave alone."""
    versions = {}
    for name in HELD:
        version = _installed_version(name)
        if version is not None:
            versions[name] = version
    return versions


def _installed_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _missing_packages(path: Path | str) -> list:
    """The requirements of that file which no installed package meets."""
    from packaging.requirements import Requirement

    missing = []
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        requirement = Requirement(line)
        version = _installed_version(requirement.name)
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            missing.append(requirement)
    return missing


def _confirm(packages: list[str]) -> None:
    """Ask the user; raises `RuntimeError` where the answer is no."""
    import slicer.util

    question = _("GANSynthesis needs these Python packages: {names}. Install them now?")
    if not slicer.util.confirmOkCancelDisplay(question.format(names=", ".join(packages))):
        raise RuntimeError(_("Python packages are missing: start again and agree to their installation."))


def _ensure_with_pip(path: Path | str, constraints: Path) -> None:
    """What `slicer.packaging.pip_ensure` does, for Slicer 5.10, which lacks it."""
    packages = [str(requirement) for requirement in _missing_packages(path)]
    if not packages:
        return
    _confirm(packages)
    with _heard(lambda line: None) as heard:
        problem = _pip_problem(packages, constraints, heard)
    if problem:
        raise RuntimeError(problem)
