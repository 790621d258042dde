"""What is seen of a run: numbers on disk, curves in the scene, trouble and what to do about it."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import slicer
import torch

from GANSynthesisLib.mrml.curves import LossCurves
from GANSynthesisLib.training.advice import advice, advised, alert_name
from GANSynthesisLib.training.losses import LossesFile, LossesReader, write_losses
from GANSynthesisLib.training.monitors import WATCHED, find_trouble, image_monitors
from SlicerHost.scene import start_scene

REPOSITORY = Path(__file__).resolve().parents[2]


def rows(count: int, **more) -> list[dict]:
    return [{"step": 20.0 * n, "generator/l1": 1.0 / n, **more} for n in range(1, count + 1)]


# The file


def test_rows_are_appended_as_they_come_and_only_new_bytes_are_read(tmp_path):
    file, reader = LossesFile(tmp_path / "losses.csv"), LossesReader(tmp_path / "losses.csv")
    assert not reader.read() and reader.rows == []
    history = rows(2)
    file.follow(history)
    first = os.stat(file.path).st_ino
    assert reader.read() and reader.rows == history
    history += rows(3)[2:]
    file.follow(history)
    assert os.stat(file.path).st_ino == first
    assert reader.read() and reader.rows == history
    assert not reader.read()


def test_a_new_name_and_a_step_back_write_the_file_anew(tmp_path):
    file, reader = LossesFile(tmp_path / "losses.csv"), LossesReader(tmp_path / "losses.csv")
    history = rows(2)
    file.follow(history)
    history.append({"step": 60.0, "generator/l1": 0.3, "validation/mae": 0.5})
    file.follow(history)
    reader.read()
    assert reader.rows == history
    history = rows(1)
    file.start_over()
    file.follow(history)
    assert reader.read() and reader.rows == history


def test_a_half_written_line_waits_for_its_end(tmp_path):
    path = tmp_path / "losses.csv"
    write_losses(path, rows(1))
    reader = LossesReader(path)
    reader.read()
    with path.open("a") as stream:
        stream.write("40.0,0.")
    assert not reader.read() and len(reader.rows) == 1
    with path.open("a") as stream:
        stream.write("5\r\n")
    assert reader.read() and reader.rows == rows(2)


# Nodes


@pytest.fixture
def scene():
    return start_scene()


def column(table_node, name: str) -> list[float]:
    values = table_node.GetTable().GetColumnByName(name)
    return [values.GetValue(index) for index in range(values.GetNumberOfValues())]


def nodes_of(class_name: str) -> list:
    return slicer.util.getNodesByClass(class_name)


def test_curves_grow_in_place(scene):
    curves, history = LossCurves("tiny losses"), rows(2, **{"gradient norm/generator": 3.0})
    curves.show(history)
    (table,), (series,), (chart,) = (
        nodes_of(f"vtkMRML{kind}Node") for kind in ("Table", "PlotSeries", "PlotChart")
    )
    shown = table.GetTable().GetColumnByName("generator/l1")
    history.append({"step": 60.0, "generator/l1": 0.25, "validation/mae": 0.5})
    curves.show(history)
    assert table.GetTable().GetColumnByName("generator/l1") is shown
    assert column(table, "generator/l1") == [1, 0.5, 0.25]
    assert math.isnan(column(table, "gradient norm/generator")[2])
    assert chart.GetTitle() == "tiny losses" and series.GetYColumnName() == "generator/l1"
    (checks,) = (node for node in nodes_of("vtkMRMLTableNode") if node is not table)
    assert column(checks, "step") == [60] and column(checks, "validation/mae") == [0.5]
    assert [chart.GetNthPlotSeriesNode(n).GetYColumnName() for n in range(chart.GetNumberOfPlotSeriesNodes())] == [
        "generator/l1", "validation/mae",
    ]


def test_curves_of_a_run_that_went_back_are_not_those_of_before(scene):
    curves = LossCurves("tiny losses")
    curves.show(rows(3))
    again = [*rows(2), {"step": 60.0, "generator/l1": 9.0}, {"step": 80.0, "generator/l1": 8.0}]
    curves.show(again)
    (table,) = nodes_of("vtkMRMLTableNode")
    assert column(table, "generator/l1") == [1, 0.5, 9, 8]


def test_curves_are_taken_up_again_and_removed_ones_stay_away(scene):
    LossCurves("tiny losses").show(rows(2))
    curves = LossCurves("tiny losses")
    curves.show(rows(3))
    assert [len(nodes_of(f"vtkMRML{kind}Node")) for kind in ("Table", "PlotSeries", "PlotChart")] == [1, 1, 1]
    scene.RemoveNode(curves.chart)
    curves.show(rows(4))
    assert curves.chart is None and nodes_of("vtkMRMLPlotChartNode") == []


# Trouble


def test_a_steady_run_has_no_trouble():
    assert find_trouble([]) == {}
    steady = [{"step": n, "gradient norm/generator": 5.0 / (1 + n), "discriminator/discriminator": 0.2,
               "diversity/made over real": 0.8} for n in range(60)]
    assert find_trouble(steady) == {}


def test_a_gradient_that_fell_to_nothing_is_found_for_players_that_make_something():
    norms = [1.0] * WATCHED + [1e-5] * WATCHED
    assert "fell to 1e-05" in find_trouble([{"gradient norm/generator": value} for value in norms])[
        "vanishing-gradient"]
    assert find_trouble([{"gradient norm/critic": value} for value in norms]) == {}
    assert find_trouble([{"gradient norm/generator": value} for value in norms[:-1]]) == {}


def test_a_discriminator_that_is_never_wrong_is_found():
    never_wrong = [{"discriminators/judge_target": 0.001}] * 2 * WATCHED
    assert "judge_target" in find_trouble(never_wrong)["discriminator-wins"]
    assert find_trouble([{"critic/critic": -40.0}] * 2 * WATCHED) == {}


def test_collapse_is_found_at_the_second_look():
    seen = [{"diversity/made over real": value} for value in (0.7, 0.02)]
    assert find_trouble(seen) == {}
    assert "0.03 times" in find_trouble([*seen, {"diversity/made over real": 0.03}])["collapse"]


def test_diversity_is_that_between_made_images_against_that_between_real_ones():
    def diversity(previews):
        return image_monitors(previews).get("diversity/made over real")

    torch.manual_seed(0)
    real = [torch.randn(1, 1, 1, 8, 8) for _ in range(4)]
    alike = [{"source": image, "synthetic": real[0], "target": image} for image in real]
    faithful = [{"source": image, "synthetic": 0.5 * image, "target": image} for image in real]
    generated = [{"real": image, **{f"generated {n}": real[0] + 0.001 * n for n in range(4)}} for image in real]
    assert diversity(alike) == 0
    assert diversity(faithful) == pytest.approx(0.5)
    assert diversity(generated) < 0.01
    assert diversity(faithful[:1]) is None and diversity([{"warped": real[0]}] * 3) is None


@pytest.mark.parametrize("name", ["not-finite", "vanishing-gradient", "collapse", "early-stop", "out-of-memory"])
def test_every_alert_has_advice(name):
    assert len(advice(name)) > 40


def test_alerts_are_recognized_in_the_log_and_in_errors():
    assert alert_name("alert collapse at step 40: alike") == "collapse"
    assert alert_name("Alert not-finite: a loss became NaN") == "not-finite"
    assert alert_name("RuntimeError: CUDA out of memory. Tried") == "out-of-memory"
    assert alert_name("step 3/40: l1 0.2") == "" and advised("no such file") == "No such file."
    assert advised("alert collapse at step 40: alike").endswith(advice("collapse"))


def test_a_panel_can_look_at_a_run_without_torch():
    program = """
import sys
import GANSynthesisLib.training.advice, GANSynthesisLib.training.losses, GANSynthesisLib.training.unfinished
assert not {"torch", "SimpleITK", "matplotlib"} & sys.modules.keys()
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
