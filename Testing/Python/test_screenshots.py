"""What `make screenshots` finds: texts with too little room are named, texts with enough are not."""

import pytest
from Screenshots.clipping import clipped
from Screenshots.theme import THEMES, set_theme

from SlicerHost import pythonqt
from SlicerHost.host import start_host


@pytest.fixture(autouse=True)
def host():
    start_host()
    set_theme("light")
    yield
    set_theme("light")


def shown(widget, width: int, height: int = 100):
    """The Qt widget behind a proxy, shown in that size."""
    native = pythonqt.native(widget)
    native.resize(width, height)
    native.show()
    return native


def in_a_row(*widgets):
    import qt

    frame = qt.QWidget()
    layout = qt.QHBoxLayout(frame)
    layout.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        layout.addWidget(widget)
    return frame


@pytest.mark.parametrize("kind", ["QLabel", "QPushButton", "QToolButton", "QCheckBox", "QRadioButton"])
def test_text_wider_than_its_widget_is_named(kind):
    import qt

    widget = getattr(qt, kind)()
    widget.text = "A text that needs some room"
    widget.setObjectName("narrow")
    frame = in_a_row(widget)
    assert clipped(shown(frame, 600), 600) == []
    widget.setFixedWidth(60)
    (found,) = clipped(shown(frame, 600), 600)
    assert "'narrow'" in found and "A text that needs some room" in found and "wide needed" in found


def test_wrapped_text_is_measured_in_height():
    import qt

    label = qt.QLabel("many words " * 20)
    label.wordWrap = True
    frame = in_a_row(label)
    assert clipped(shown(frame, 200, 400), 200) == []
    label.setFixedHeight(20)
    (found,) = clipped(shown(frame, 200, 400), 200)
    assert "high needed" in found


def test_hidden_texts_do_not_count():
    import qt

    label = qt.QLabel("A text that needs some room")
    label.setFixedWidth(20)
    frame = in_a_row(label)
    native = shown(frame, 200)
    label.visible = False
    assert clipped(native, 200) == []


def test_panel_that_cannot_be_as_narrow_names_the_row_that_is_to_blame():
    import qt

    buttons = [qt.QPushButton("A long text on a button") for _ in range(2)]
    for button, name in zip(buttons, ("first", "second"), strict=True):
        button.setObjectName(name)
    tabs, panel = qt.QTabWidget(), qt.QWidget()
    for page, name in ((in_a_row(qt.QLabel("short")), "Short"), (in_a_row(*buttons), "Long")):
        page.setObjectName(name)
        tabs.addTab(page, name)
    qt.QVBoxLayout(panel).addWidget(tabs)
    (found,) = clipped(shown(panel, 100), 100)
    assert found.startswith("the panel is ") and "because of Long: first (" in found and "second (" in found


def test_themes_differ_in_their_colors():
    import qt

    backgrounds = []
    for theme in THEMES:
        set_theme(theme)
        backgrounds.append(qt.QWidget().palette.window().color().lightness())
    assert backgrounds[0] > 200 and backgrounds[1] < 80
