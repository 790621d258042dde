"""Rules that Slicer sets: what the panel may call, what importing the module may load, what may be installed."""

import ast
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import slicer
import slicer.util
from packaging.requirements import Requirement
from PySide6 import QtCore

from GANSynthesisLib.requirements import ensure_requirements
from SlicerHost import pythonqt, recording
from SlicerHost.host import start_host
from SlicerHost.ui_loader import QUiLoader, find_problems

REPOSITORY = Path(__file__).resolve().parents[2]
MODULE = REPOSITORY / "GANSynthesis" / "GANSynthesis.py"
UI_FILES = sorted((REPOSITORY / "GANSynthesis" / "Resources" / "UI").glob("*.ui"))
PANEL = [MODULE, *sorted((REPOSITORY / "GANSynthesisLib" / "panel").glob("*.py"))]
FACING_SLICER = [
    *PANEL,
    REPOSITORY / "GANSynthesisLib" / "presentation.py",
    REPOSITORY / "GANSynthesisLib" / "requirements.py",
    *sorted((REPOSITORY / "GANSynthesisLib" / "mrml").glob("*.py")),
]
NODE_SELECTORS = {"slicer.qMRMLNodeComboBox", "slicer.qMRMLSubjectHierarchyComboBox"}
OWN_MODULE = {"gansynthesis", "GANSynthesisInstance", "GANSynthesisWidget"}


def dotted(node: ast.AST) -> str:
    """`slicer.util.loadUI` of a chain of attributes, else an empty text."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return ""


def chains(path: Path) -> set[str]:
    return {dotted(node) for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))} - {""}


def ui_root(path: Path) -> ElementTree.Element:
    return ElementTree.parse(path).getroot()


def ui_classes() -> dict[str, set[str]]:
    """Widget name -> recorded classes that it has in the .ui files."""
    classes: dict[str, set[str]] = {}
    for path in UI_FILES:
        for kind in ("widget", "buttongroup"):
            for element in ui_root(path).iter(kind):
                classes.setdefault(element.get("name"), set()).add(recording.recorded_class(element.get("class")))
    return classes


by_name = pytest.mark.parametrize("path", FACING_SLICER, ids=lambda path: path.name)
by_ui_file = pytest.mark.parametrize("path", UI_FILES, ids=lambda path: path.name)


@by_ui_file
def test_ui_file_asks_only_for_what_slicer_has(path):
    assert find_problems(ui_root(path)) == []


@by_ui_file
def test_ui_file_gives_the_scene_to_every_node_selector(path):
    root = ui_root(path)
    selectors = {
        element.get("name")
        for element in root.iter("widget")
        if recording.recorded_class(element.get("class")) in NODE_SELECTORS
    }
    assert not selectors or root.find("widget").get("class") == "qMRMLWidget"
    optional = {element.get("name") for element in root.iter("widget")
                if any(entry.get("name") == "noneEnabled" for entry in element.findall("property"))}
    assert selectors <= optional, "Slicer would choose a node by itself"
    wired = {
        entry.findtext("receiver")
        for entry in root.iterfind("connections/connection")
        if entry.findtext("sender") == root.find("widget").get("name")
        and entry.findtext("signal") == "mrmlSceneChanged(vtkMRMLScene*)"
        and entry.findtext("slot") == "setMRMLScene(vtkMRMLScene*)"
    }
    assert wired == selectors


@by_ui_file
def test_ui_file_names_each_widget_once(path):
    names = [element.get("name") for kind in ("widget", "layout") for element in ui_root(path).iter(kind)]
    assert len(names) == len(set(names))


def test_every_widget_bound_to_a_parameter_names_one_that_exists():
    members = {
        statement.target.id
        for node in ast.walk(ast.parse(MODULE.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and node.name == "GANSynthesisParameterNode"
        for statement in node.body
        if isinstance(statement, ast.AnnAssign)
    }
    bound = [
        entry.findtext("string")
        for path in UI_FILES
        for entry in ui_root(path).iter("property")
        if entry.get("name") == "SlicerParameterName" and entry.get("stdset") == "0"
    ]
    assert len(bound) == len(set(bound))
    assert set(bound) <= members
    assert members - set(bound) == {"task", "model", "className"}, "these are chosen in lists that the panel fills"


@pytest.mark.parametrize("path", PANEL, ids=lambda path: path.name)
def test_panel_uses_only_recorded_names_of_its_widgets(path):
    classes = ui_classes()
    for chain in chains(path):
        match = re.fullmatch(r"(?:self\.)?_?ui\.(\w+)(?:\.(\w+).*)?", chain)
        if match:
            widget, name = match.groups()
            assert widget in classes, f"{path.name}: {chain}: no .ui file has a widget '{widget}'"
            for recorded in classes[widget] if name else ():
                assert name in recording.names(recorded), f"{path.name}: {chain}: {recorded} has no '{name}'"


@by_name
def test_only_recorded_names_of_slicer_are_used(path):
    for chain in chains(path):
        parts = chain.split(".")
        for length in range(1, len(parts)):
            before, name = ".".join(parts[:length]), parts[length]
            if before in recording.CLASSES:
                assert name in recording.names(before), f"{path.name}: {chain}: {before} has no '{name}'"
            elif before in recording.MODULES:
                allowed = recording.module_names(before) | (OWN_MODULE if before == "slicer.modules" else set())
                assert name in allowed, f"{path.name}: {chain} is not in Slicer's recording"


@by_name
def test_imports_from_slicer_name_what_it_has(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module in recording.MODULES:
            unknown = {alias.name for alias in node.names} - recording.module_names(node.module)
            assert not unknown, f"{path.name}: {node.module} has no {unknown}"


@by_name
def test_calls_into_slicer_use_recorded_keywords(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            called = dotted(node.func)
            for name, parameters in recording.SIGNATURES.items():
                if called == name or called == name.split(".")[-1]:
                    unknown = {keyword.arg for keyword in node.keywords} - {None} - set(parameters)
                    assert not unknown or "**kwargs" in parameters, f"{path.name}: {called} takes no {unknown}"


@by_name
def test_nothing_is_used_that_one_of_the_supported_slicers_lacks(path):
    text = path.read_text(encoding="utf-8")
    for name in (
        "QTextCodec",
        "import imp\n",
        "QRegExp",
        "QDesktopWidget",
        "setRowVisible",
        "from qt import",
        "PySide6",
    ):
        assert name not in text, f"{path.name} uses {name}"


def test_opening_the_panel_loads_nothing_heavy():
    program = f"""
import sys
from pathlib import Path
from SlicerHost.host import open_panel, start_host
from SlicerHost.scene import start_scene
start_host()
start_scene()
panel = open_panel(Path({str(MODULE)!r}))
loaded = sorted({{"torch", "monai", "SimpleITK", "lightning", "lightning_fabric", "matplotlib"}} & sys.modules.keys())
assert not loaded, loaded
"""
    place = {
        "PYTHONPATH": f"{REPOSITORY / 'Testing'}",
        "QT_QPA_PLATFORM": "offscreen",
        "PATH": "",
        "HOME": "/nonexistent",
    }
    done = subprocess.run([sys.executable, "-c", program], env=place, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_requirements_are_lower_bounds_and_never_what_slicer_or_the_pytorch_extension_provides():
    lines = (REPOSITORY / "GANSynthesis" / "Resources" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    requirements = [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]
    assert requirements
    for requirement in requirements:
        assert requirement.name.lower() not in {"torch", "torchvision", "numpy", "scipy", "simpleitk", "vtk"}
        assert [bound.operator for bound in requirement.specifier] == [">="], requirement


@pytest.mark.parametrize("agreed", [True, False])
def test_slicer_5_10_without_its_packaging_module_asks_and_installs_with_pip(monkeypatch, tmp_path, agreed):
    start_host()
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    asked, installed = [], []
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text: asked.append(text) or agreed)
    monkeypatch.setattr(slicer.util, "pip_install", lambda requirements: installed.append(requirements))
    path = tmp_path / "requirements.txt"
    path.write_text("# comment\npytest>=1\nno-such-package>=1.5\n")
    if agreed:
        ensure_requirements(path)
        ((name, option, constraints),) = installed
        assert (name, option, Path(constraints).name) == ("no-such-package>=1.5", "--constraint", "constraints.txt")
    else:
        with pytest.raises(RuntimeError, match="start again and agree"):
            ensure_requirements(path)
        assert not installed
    assert len(asked) == 1 and "no-such-package" in asked[0] and "pytest" not in asked[0]


class TestHostIsAsStrictAsSlicer:
    """A call that would fail in Slicer fails in the host too; otherwise the panel's tests prove nothing."""

    @pytest.fixture(autouse=True)
    def host(self):
        start_host()

    def test_properties_are_attributes_and_not_callable(self):
        import qt

        button = qt.QPushButton("Apply")
        assert button.text == "Apply"
        with pytest.raises(TypeError):
            button.text()
        button.enabled = False
        assert button.isEnabled() is False

    def test_unknown_names_are_refused(self):
        import ctk
        import qt
        import slicer

        label = qt.QLabel()
        with pytest.raises(AttributeError):
            label.setTextColor("red")
        with pytest.raises(AttributeError):
            label.colour = "red"
        with pytest.raises(AttributeError):
            _ = slicer.app.mainWindow
        with pytest.raises(AttributeError):
            _ = ctk.ctkNoSuchWidget

    def test_properties_take_their_own_type_only(self):
        import qt

        with pytest.raises(AttributeError):
            qt.QLabel().text = 3
        with pytest.raises(AttributeError):
            qt.QProgressBar().value = 0.5

    def test_read_only_properties_cannot_be_set(self):
        import qt

        with pytest.raises(AttributeError):
            qt.QComboBox().count = 3

    def test_signals_connect_in_both_ways_and_unknown_ones_are_refused(self):
        import qt

        heard = []
        button = qt.QPushButton()
        button.clicked.connect(lambda: heard.append("attribute"))
        button.connect("clicked(bool)", lambda checked: heard.append(checked))
        button.click()
        assert heard == ["attribute", False]
        with pytest.raises(ValueError):
            button.connect("pushed()", heard.clear)

    def test_what_a_slot_raises_is_kept_for_tests(self):
        import qt

        pythonqt.slot_errors.clear()
        button = qt.QPushButton()
        button.clicked.connect(lambda: 1 / 0)
        button.click()
        assert isinstance(pythonqt.slot_errors.pop(), ZeroDivisionError)

    def test_ui_file_with_an_unknown_property_is_refused(self, tmp_path):
        path = tmp_path / "Wrong.ui"
        text = next(text for text in map(Path.read_text, UI_FILES) if 'name="noneEnabled"' in text)
        path.write_text(text.replace('name="noneEnabled"', 'name="noneAllowed"', 1))
        file = QtCore.QFile(str(path))
        file.open(QtCore.QFile.OpenModeFlag.ReadOnly)
        with pytest.raises(ValueError, match="noneAllowed"):
            QUiLoader().load(file)
