"""Puts tables, charts and error maps in front of the user, in a layout of the views that has room for them."""

import slicer


def has_views() -> bool:
    """Whether there are views to show anything in; without a main window there are none."""
    return slicer.app.layoutManager() is not None


def show_table(node) -> None:
    """Show a table node, next to the views that are open."""
    layouts = slicer.app.layoutManager()
    layouts.setLayout(slicer.modules.tables.logic().GetLayoutWithTable(layouts.layout))
    application = slicer.app.applicationLogic()
    application.GetSelectionNode().SetActiveTableID(node.GetID())
    application.PropagateTableSelection()


def show_chart(node) -> None:
    """Show a plot chart node, next to the views that are open."""
    slicer.modules.plots.logic().ShowChartInLayout(node)


def show_error_map(node) -> None:
    """Show an error map alone in the slice views."""
    slicer.util.setSliceViewerLayers(background=node, foreground=None, fit=has_views())
