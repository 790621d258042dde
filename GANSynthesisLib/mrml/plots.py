"""Numbers -> table and plot nodes: columns, charts with points, lines and bars, and box plots, which Slicer lacks."""

from dataclasses import dataclass

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from GANSynthesisLib.mrml.outputs import add_node

TABLE = "vtkMRMLTableNode"
CHART = "vtkMRMLPlotChartNode"
SERIES = "vtkMRMLPlotSeriesNode"

HALF_BOX, HALF_CAP = 0.3, 0.12  # widths of a box and of the ends of its whiskers; boxes stand 1 apart
NAMED = 8  # so many structures are named below a chart

GRAY = (0.5, 0.5, 0.5)
# Dark enough for lines on Slicer's light charts, which the colors of many structures are not (Okabe and Ito 2008).
BLUE, ORANGE = (0.0, 0.45, 0.7), (0.84, 0.37, 0.0)
COLORS = (BLUE, ORANGE, (0.0, 0.62, 0.45), (0.8, 0.47, 0.65))


@dataclass(frozen=True)
class Series:
    """One column against another: drawn as `points`, `line` or `bars`. labels: column of names shown at the mouse."""

    name: str
    x: str
    y: str
    style: str
    color: tuple[float, float, float]
    labels: str = ""


@dataclass(frozen=True, eq=False)
class Chart:
    """A chart and its data: columns by name, all of one length, numbers or texts."""

    title: str
    x_title: str
    y_title: str
    columns: dict
    series: tuple[Series, ...]


def fill_table(node, columns: dict) -> None:
    """Columns (name -> texts or numbers, all of one length) into a table node; what it held before is replaced."""
    table = vtk.vtkTable()
    for name, values in columns.items():
        if len(values) and isinstance(values[0], str):
            column = vtk.vtkStringArray()
            for value in values:
                column.InsertNextValue(value)
        else:
            column = numpy_to_vtk(np.array(values, np.float64), deep=True)
        column.SetName(name)
        table.AddColumn(column)
    node.SetAndObserveTable(table)
    node.SetUseColumnTitleAsColumnHeader(True)


def chart_to_nodes(chart: Chart, scene) -> list:
    """The new chart node, then the nodes that it needs: its series and their table."""
    table = add_node(TABLE, f"{chart.title} [data]", scene)
    fill_table(table, chart.columns)
    node = add_node(CHART, chart.title, scene)
    node.SetTitle(chart.title)
    node.SetXAxisTitle(chart.x_title)
    node.SetYAxisTitle(chart.y_title)
    node.SetLegendVisibility(False)
    made = [node, table]
    for each in chart.series:
        series = add_node(SERIES, each.name, scene)
        series.SetAndObserveTableNodeID(table.GetID())
        series.SetXColumnName(each.x)
        series.SetYColumnName(each.y)
        series.SetLabelColumnName(each.labels)
        series.SetColor(*each.color)
        series.SetPlotType(series.PlotTypeScatterBar if each.style == "bars" else series.PlotTypeScatter)
        series.SetLineStyle(series.LineStyleNone if each.style == "points" else series.LineStyleSolid)
        series.SetMarkerStyle(series.MarkerStyleCircle if each.style == "points" else series.MarkerStyleNone)
        series.SetMarkerSize(3)
        node.AddAndObservePlotSeriesNodeID(series.GetID())
        made.append(series)
    return made


def bar_chart(title: str, y_title: str, values: dict[str, float]) -> Chart:
    """One bar per structure; those without a finite value are left out, not drawn as zero."""
    values = {name: value for name, value in values.items() if np.isfinite(value)}
    columns = {"structure": list(values), "number": np.arange(1, len(values) + 1), y_title: list(values.values())}
    series = Series(y_title, "number", y_title, "bars", BLUE, "structure")
    return Chart(title, numbered(values), y_title, columns, (series,))


def box_chart(title: str, y_title: str, boxes: dict[str, tuple[float, ...]]) -> Chart:
    """One box per structure, from its percentiles (5, 25, 50, 75, 95): whiskers, quartiles and median in one line."""
    columns, series = {}, []
    for number, (name, percentiles) in enumerate(boxes.items(), start=1):
        x, y = f"{number} x", f"{number} {name}"
        columns[x], columns[y] = np.array(_box_line(number, *percentiles)).T
        series.append(Series(name, x, y, "line", COLORS[(number - 1) % len(COLORS)]))
    return Chart(title, numbered(boxes), y_title, columns, tuple(series))


def _box_line(x, low, lower, median, upper, high) -> list[tuple[float, float]]:
    """Box and whiskers without lifting the pen."""
    left, right, start, end = x - HALF_BOX, x + HALF_BOX, x - HALF_CAP, x + HALF_CAP
    return [
        (start, low), (end, low), (x, low), (x, lower), (left, lower), (left, median), (right, median), (left, median),
        (left, upper), (x, upper), (x, high), (start, high), (end, high), (x, high), (x, upper), (right, upper),
        (right, lower), (x, lower),
    ]  # fmt: skip


def numbered(names) -> str:
    """ "1 gray matter, 2 white matter": what stands at 1, 2, … of an axis."""
    names = [f"{number} {name}" for number, name in enumerate(names, start=1)]
    return ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")


def difference_colors(scene):
    """The scene's color table for signed differences, made where it lacks it: blue below zero, black, red above.

    Black in the middle, as the slice views are black: what agrees steps back. Blue against red is told apart by
    readers with a color vision deficiency, too.
    """
    name = "GANSynthesis difference"
    for node in slicer.util.getNodesByClass("vtkMRMLColorTableNode", scene):
        if node.GetName() == name:
            return node
    node = scene.AddNewNodeByClass("vtkMRMLColorTableNode", name)
    node.SetTypeToUser()
    node.SetNumberOfColors(256)
    knots = (-1, -0.5, 0, 0.5, 1)
    channels = ((0.7, 0.1, 0, 0.9, 1), (0.95, 0.4, 0, 0.15, 0.95), (1, 0.95, 0, 0.05, 0.5))
    for index, at in enumerate(np.linspace(-1, 1, 256)):
        node.SetColor(index, f"{at:+.2f}", *(np.interp(at, knots, channel) for channel in channels), 1.0)
    return node
