"""Installs, inside Slicer and after asking, what a model needs to run: PyTorch and the packages of requirements.txt.

PyTorch comes through the PyTorch extension only. What Slicer itself has (numpy, SimpleITK, vtk …) and the installed
torch are held at their versions, so that no other extension breaks. Where all is there, nothing is asked or done.
"""

import importlib.metadata
import importlib.util
import tempfile
from pathlib import Path

HELD = ("torch", "torchvision", "numpy", "scipy", "SimpleITK", "vtk")


def ensure_requirements(path: Path) -> None:
    """Have PyTorch and the requirements in that file.

    Raises `RuntimeError`, one sentence on what to do, where the user declines or the PyTorch extension is absent.
    """
    _ensure_torch()
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("".join(f"{name}=={version}\n" for name, version in _held_versions().items()))
        try:
            from slicer.packaging import load_requirements, pip_ensure
        except ImportError:  # Slicer 5.10
            _ensure_with_pip(path, constraints)
        else:
            pip_ensure(load_requirements(path), constraints=constraints, requester="GANSynthesis")


def _ensure_torch() -> None:
    from slicer.i18n import tr as _

    if importlib.util.find_spec("torch") is not None:
        return
    try:
        import PyTorchUtils
    except ModuleNotFoundError as error:
        raise RuntimeError(
            _('PyTorch is needed: install the extension "PyTorch" with the Extensions Manager and restart Slicer.')
        ) from error
    if PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=True) is None:
        raise RuntimeError(_("PyTorch was not installed: click Apply again and agree to its installation."))


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


def _ensure_with_pip(path: Path, constraints: Path) -> None:
    """What `slicer.packaging.pip_ensure` does, for Slicer 5.10, which lacks it."""
    import slicer.util
    from packaging.requirements import Requirement
    from slicer.i18n import tr as _

    missing = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        requirement = Requirement(line)
        version = _installed_version(requirement.name)
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            missing.append(str(requirement))
    if not missing:
        return
    question = _("GANSynthesis needs these Python packages: {names}. Install them now?")
    if not slicer.util.confirmOkCancelDisplay(question.format(names=", ".join(missing))):
        raise RuntimeError(_("Python packages are missing: click Apply again and agree to their installation."))
    slicer.util.pip_install([*missing, "--constraint", str(constraints)])
