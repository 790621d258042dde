"""The packaged extension is complete, and what the project says of itself in several files agrees."""

import ast
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import types
import xml.etree.ElementTree as ElementTree
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import cmake
import pytest
from packaging.requirements import Requirement

import GANSynthesisLib

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REPOSITORY = Path(__file__).resolve().parents[2]
SLICER_BUILD_TREE = Path(__file__).resolve().parent / "SlicerBuildTree"
MODULES = Path("lib/Slicer-5.12/qt-scripted-modules")
ADDED_LATER = (
    "GANSynthesisLib/later/deep/new.py",
    "GANSynthesisLib/later/table.json",
    "GANSynthesis/Resources/UI/Later.ui",
    "Resources/Models/later.safetensors",
)


def files_below(folder: Path) -> set[Path]:
    """Relative paths of all files that make up the source below a folder."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path for path in found if "__pycache__" not in path.parts and path.name != "CMakeLists.txt"
            and not any(part.startswith(".") for part in path.parts)}  # fmt: skip


def run_cmake(*arguments) -> None:
    done = subprocess.run([Path(cmake.CMAKE_BIN_DIR) / "cmake", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def extension(tmp_path_factory):
    """The extension, configured and built against the stand-in for Slicer, changed, built again and installed."""
    folder = tmp_path_factory.mktemp("extension")
    source, build, package = folder / "source", folder / "build", folder / "package"
    source.mkdir()
    shutil.copy(REPOSITORY / "CMakeLists.txt", source)
    for part in ("GANSynthesis", "GANSynthesisLib", "Resources"):
        shutil.copytree(REPOSITORY / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
    compilers = [f"-DCMAKE_{language}_COMPILER{setting}" for language in ("C", "CXX")
                 for setting in (f"={sys.executable}", "_FORCED=1", "_ID_RUN=1")]  # fmt: skip
    run_cmake("-S", source, "-B", build, "-G", "Unix Makefiles", f"-DSlicer_DIR={SLICER_BUILD_TREE}", *compilers)
    run_cmake("--build", build)
    for name in ADDED_LATER:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text("# added after the first build\n")
    run_cmake("--build", build)
    run_cmake("--install", build, "--prefix", package, "--component", "RuntimeLibraries")
    said = dict(line.split("=", 1) for line in (build / "extension.txt").read_text().splitlines())
    return types.SimpleNamespace(source=source, build=build / MODULES, package=package / MODULES, said=said)


@pytest.mark.parametrize("tree", ["build", "package"])
def test_every_file_is_in(extension, tree):
    modules = getattr(extension, tree)
    places = {"GANSynthesis": ".", "GANSynthesisLib": "GANSynthesisLib", "Resources/Models": "Resources/Models"}
    for part, place in places.items():
        names = files_below(extension.source / part)
        assert names, part
        for name in names:
            installed = modules / place / name
            assert installed.is_file(), f"{part}/{name} is not in the {tree} tree"
            assert installed.read_bytes() == (extension.source / part / name).read_bytes()
    for name in ADDED_LATER[:2]:
        assert (modules / name).is_file(), f"{name}, added after the first build, is not in the {tree} tree"


def test_only_the_module_itself_is_seen_as_a_module(extension):
    assert [path.name for path in extension.package.glob("*.py")] == ["GANSynthesis.py"]
    assert extension.said["UNITTESTS"] == "GANSynthesis.py"


@pytest.mark.parametrize("tree", ["source", "build", "package"])
def test_library_finds_the_shipped_models(extension, tree):
    place = getattr(extension, tree)
    script = (
        "from GANSynthesisLib import models\n"
        "print(models.__file__, models.shipped_models_folder(), sep='\\n')\n"
        "print(*sorted(path.name for path in models.shipped_models_folder().iterdir()))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=place, env=os.environ | {"PYTHONPATH": str(place)},
                          capture_output=True, text=True, check=True)  # fmt: skip
    library, folder, names = done.stdout.splitlines()
    assert Path(library) == place / "GANSynthesisLib" / "models.py"
    assert Path(folder) == place / "Resources" / "Models"
    shipped = {path.name for path in (REPOSITORY / "Resources" / "Models").glob("*.safetensors")}
    assert shipped | {"later.safetensors"} == {name for name in names.split() if name.endswith(".safetensors")}


def test_index_entry_agrees_with_cmake(extension):
    entry = json.loads((REPOSITORY / "GANSynthesis.json").read_text())
    assert entry.pop("$schema").endswith("slicer-extension-catalog-entry-schema-v1.0.2.json#")
    assert entry["category"] == extension.said["EXTENSION_CATEGORY"]
    assert entry["scm_url"] == extension.said["EXTENSION_HOMEPAGE"]
    assert entry["build_dependencies"] == extension.said["EXTENSION_DEPENDS"].split() == ["PyTorch"]
    assert isinstance(entry["tier"], int) and 1 <= entry["tier"] <= 5
    allowed = {"category", "scm_url", "scm_revision", "scm_type", "build_dependencies", "dicom_support_rule",
               "build_subdirectory", "enabled", "tier"}  # fmt: skip
    assert set(entry) <= allowed


def test_pictures_that_the_index_shows_exist(extension):
    pictures = f"{extension.said['EXTENSION_ICONURL']} {extension.said['EXTENSION_SCREENSHOTURLS']}".split()
    for url in pictures:
        prefix = "https://raw.githubusercontent.com/GANSynthesis/GANSynthesis/main/"
        assert url.startswith(prefix)
        assert (REPOSITORY / url.removeprefix(prefix)).is_file(), url


def test_icon_is_128_pixels_and_has_its_drawing():
    icons = REPOSITORY / "GANSynthesis" / "Resources" / "Icons"
    content = (icons / "GANSynthesis.png").read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">II", content[16:24]) == (128, 128)
    assert ElementTree.parse(icons / "GANSynthesis.svg").getroot().get("viewBox") == "0 0 128 128"


def test_papers_are_there():
    assert "Apache License" in (REPOSITORY / "LICENSE").read_text()
    assert (REPOSITORY / "README.md").is_file()
    version = re.search(r"^version: (\S+)$", (REPOSITORY / "CITATION.cff").read_text(), re.MULTILINE).group(1)
    assert version == project()["version"] == GANSynthesisLib.__version__


def project() -> dict:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


def requirements(path: str) -> dict[str, Requirement]:
    lines = (REPOSITORY / path).read_text().splitlines()
    found = [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]
    return {canonical(each.name): each for each in found}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_development_environment_has_what_the_project_declares():
    declared = [Requirement(each) for each in project()["dependencies"] + project()["optional-dependencies"]["test"]]
    assert {canonical(each.name) for each in declared} == set(requirements("Testing/requirements.txt"))
    data = [Requirement(each) for each in project()["optional-dependencies"]["data"]]
    assert {canonical(each.name) for each in data} == set(requirements("Testing/requirements-data.txt"))


def test_torch_alone_is_pinned():
    both = requirements("Testing/requirements.txt") | requirements("Testing/requirements-data.txt")
    pinned = [name for name, each in both.items() if any(part.operator == "==" for part in each.specifier)]
    assert pinned == ["torch"]
    for line in project()["dependencies"] + sum(project()["optional-dependencies"].values(), []):
        assert "==" not in line


def test_slicer_is_asked_for_what_the_project_declares_and_never_replaced():
    asked = requirements("GANSynthesis/Resources/requirements.txt")
    declared = {canonical(Requirement(each).name) for each in project()["dependencies"]}
    assert asked.keys() <= declared
    assert not asked.keys() & {"torch", "numpy", "simpleitk", "vtk"}
    assert not [each for each in asked.values() if any(part.operator == "==" for part in each.specifier)]


def with_dependencies(names: set[str]) -> set[str]:
    """The distributions and all that they require here."""
    found, waiting = set(), set(names)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        try:
            needed = map(Requirement, requires(name) or [])
        except PackageNotFoundError:
            continue
        waiting |= {canonical(each.name) for each in needed if not each.marker or each.marker.evaluate({"extra": ""})}
    return found


def test_every_import_is_declared():
    declared = with_dependencies(set(requirements("Testing/requirements.txt")))
    owners = packages_distributions()
    for path in [*REPOSITORY.glob("GANSynthesis*/**/*.py"), *REPOSITORY.glob("Testing/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = []
            if isinstance(node, ast.Import):
                modules = [each.name for each in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules = [node.module]
            for module in modules:
                distributions = {canonical(each) for each in owners.get(module.split(".")[0], [])}
                known = not distributions or distributions & declared
                assert known, f"{path.relative_to(REPOSITORY)} imports {module}, which no requirement brings"
