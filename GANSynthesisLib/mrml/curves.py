"""Loss curves of a training run -> table, plot series and chart nodes that grow in place."""

import math

import slicer
import vtk

TABLE, SERIES, CHART = "vtkMRMLTableNode", "vtkMRMLPlotSeriesNode", "vtkMRMLPlotChartNode"
STEP = "step"
CHECKS = ("validation/", "diversity/")  # what is measured now and then; in a table of its own, so that lines connect
UNPLOTTED = ("gradient norm/", "logit gap/")  # in the table only: their scale is another one


class LossCurves:
    """Nodes of one run: two tables, a series per term, and a chart that shows them. Made anew only by a new object."""

    def __init__(self, title: str, scene=None):
        """title: name of the chart. Where the scene has nodes of this title, they are taken up again."""
        self._scene = scene or slicer.mrmlScene
        self._title = title
        self._shown, self._last = 0, None  # rows that are in the tables, and the last of them
        self._chart_id = self._node(CHART, title).GetID()
        self.chart.SetTitle(title)
        self.chart.SetXAxisTitle(STEP)
        self.chart.SetYAxisTitle("loss")

    @property
    def chart(self):
        """The chart node; None where the user, or a closed scene, has removed it."""
        return self._scene.GetNodeByID(self._chart_id)

    def show(self, rows: list[dict[str, float]]) -> None:
        """Bring the nodes up to the rows (`step` and named numbers); only rows that are new are added to the tables.

        Nodes that the user has removed stay away.
        """
        if self.chart is None or not rows:
            return
        grown = 0 < self._shown <= len(rows) and rows[self._shown - 1] == self._last
        if not (grown and self._add(rows[self._shown :], start_over=False)):
            self._add(rows, start_over=True)
        self._shown, self._last = len(rows), dict(rows[-1])

    def _add(self, rows: list[dict[str, float]], start_over: bool) -> bool:
        """Add rows to the two tables, or have them hold nothing else; False where a number has no column."""
        often = [{name: value for name, value in row.items() if not name.startswith(CHECKS)} for row in rows]
        seldom = [{name: value for name, value in row.items() if name == STEP or name.startswith(CHECKS)}
                  for row in rows]
        return self._fill(self._title, [row for row in often if len(row) > 1], start_over) and self._fill(
            f"{self._title} (checks)", [row for row in seldom if len(row) > 1], start_over)

    def _fill(self, name: str, rows: list[dict[str, float]], start_over: bool) -> bool:
        if not rows:
            return True
        node, names = self._node(TABLE, name), {name for row in rows for name in row}
        table = node.GetTable()
        if start_over or table.GetNumberOfColumns() == 0:
            _make_columns(table, [STEP, *sorted(names - {STEP})])
        columns = [table.GetColumn(index) for index in range(table.GetNumberOfColumns())]
        if not names <= {column.GetName() for column in columns}:
            return False
        for column in columns:
            for row in rows:
                column.InsertNextValue(row.get(column.GetName(), math.nan))
            column.Modified()
        table.Modified()
        node.Modified()
        for column in columns[1:]:
            if not column.GetName().startswith(UNPLOTTED):
                self._plot(node, column.GetName())
        return True

    def _plot(self, table_node, column: str) -> None:
        known = [self.chart.GetNthPlotSeriesNode(n) for n in range(self.chart.GetNumberOfPlotSeriesNodes())]
        if any(each is not None and each.GetYColumnName() == column for each in known):
            return
        series = self._scene.AddNewNodeByClass(SERIES, column)
        series.SetAndObserveTableNodeID(table_node.GetID())
        series.SetXColumnName(STEP)
        series.SetYColumnName(column)
        series.SetPlotType(series.PlotTypeScatter)
        series.SetMarkerStyle(series.MarkerStyleCircle if column.startswith(CHECKS) else series.MarkerStyleNone)
        series.SetUniqueColor()
        self.chart.AddAndObservePlotSeriesNodeID(series.GetID())

    def _node(self, class_name: str, name: str):
        found = self._scene.GetNodesByClassByName(class_name, name)
        found.UnRegister(None)
        return found.GetItemAsObject(0) or self._scene.AddNewNodeByClass(class_name, name)


def _make_columns(table, names: list[str]) -> None:
    table.Initialize()
    for name in names:
        column = vtk.vtkDoubleArray()
        column.SetName(name)
        table.AddColumn(column)
