"""The two themes that Slicer has, as palettes of Qt's style Fusion, on which Slicer's own style is built."""

from PySide6 import QtGui, QtWidgets

_DARK = {
    "Window": "#353535", "WindowText": "#e8e8e8", "Base": "#2a2a2a", "AlternateBase": "#323232", "Text": "#e8e8e8",
    "Button": "#404040", "ButtonText": "#e8e8e8", "BrightText": "#ff5555", "ToolTipBase": "#353535",
    "ToolTipText": "#e8e8e8", "PlaceholderText": "#9a9a9a", "Highlight": "#2a82da", "HighlightedText": "#ffffff",
    "Link": "#5aa9ff", "LinkVisited": "#b48cff", "Light": "#5a5a5a", "Midlight": "#4a4a4a", "Mid": "#2f2f2f",
    "Dark": "#232323", "Shadow": "#141414",
}  # fmt: skip
_DISABLED = ("WindowText", "Text", "ButtonText")
THEMES = ("light", "dark")


def set_theme(theme: str) -> None:
    """Give the whole application the light or the dark look."""
    application = QtWidgets.QApplication.instance()
    application.setStyle("Fusion")
    palette = application.style().standardPalette()
    if theme == "dark":
        palette = QtGui.QPalette()
        for role, color in _DARK.items():
            palette.setColor(QtGui.QPalette.ColorRole[role], QtGui.QColor(color))
        for role in _DISABLED:
            disabled = QtGui.QPalette.ColorGroup.Disabled
            palette.setColor(disabled, QtGui.QPalette.ColorRole[role], QtGui.QColor("#808080"))
    application.setPalette(palette)
    application.processEvents()
