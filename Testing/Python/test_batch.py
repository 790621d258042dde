"""Batches: which cases a folder holds, what is recorded of them, going on, failing, stopping and being refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from batch_fixtures import files_in, write_heads, write_model
from synthetic_cases import head, write_pairs

from GANSynthesisLib.batch import BatchError, find_batch_cases, plan_batch, read_record, run
from GANSynthesisLib.batch.lock import LOCK_NAME, locked
from GANSynthesisLib.files import read_volume, write_volume
from GANSynthesisLib.models import ModelError
from GANSynthesisLib.progress import Cancelled

CPU = {"device": "cpu"}
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {name: write_model(folder, name) for name in ("t1-t2", "tissue", "align")}


@pytest.fixture
def model(models):
    return models["t1-t2"]


@pytest.fixture
def place(tmp_path):
    """Three cases in `in`, of which `b` is no image; results belong in `out`."""
    write_heads(tmp_path / "in", "a", "c")
    (tmp_path / "in" / "b.nii.gz").write_bytes(b"no image")
    return tmp_path


def go(model, place, **options):
    """Run what there is to run; gives the states, and which cases were worked on."""
    said = []
    record = run.run_batch(plan_batch(model, place / "in", place / "out", **options), device="cpu",
                           said=lambda name, entry: said.append(name))
    return {name: each.state for name, each in record.cases.items()}, said


# Which cases


def test_images_and_dicom_folders_are_cases_and_nothing_else_is(model, tmp_path):
    write_heads(tmp_path, "b", "a")
    write_volume(head(3), tmp_path / "c.MHA")
    for name, content in ((".hidden.nii.gz", b""), ("notes.txt", b""), ("series/1.dcm", b""), ("text/1.txt", b"")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    cases = find_batch_cases(model.card, tmp_path)
    assert [case.name for case in cases] == ["a", "b", "c", "series"]
    assert cases[0].files == {"source": tmp_path / "a.nii.gz"} and cases[3].files == {"source": tmp_path / "series"}
    assert not any(case.problem for case in cases)


def test_the_subfolder_of_a_role_comes_before_the_folder_itself(model, tmp_path):
    write_heads(tmp_path / "source", "a")
    write_heads(tmp_path, "other")
    assert [case.name for case in find_batch_cases(model.card, tmp_path)] == ["a"]


def test_pairs_belong_together_by_name_and_a_missing_image_is_told(models, tmp_path):
    write_pairs(tmp_path, 2)
    (tmp_path / "moving" / "sub-01.nii.gz").unlink()
    whole, half = find_batch_cases(models["align"].card, tmp_path)
    assert set(whole.files) == {"fixed", "moving"} and not whole.problem
    assert (half.name, half.problem) == ("sub-01", "The case 'sub-01' has no moving image: add one under that name.")


def test_a_subfolder_per_case_has_an_image_per_role(models, tmp_path):
    for name in ("x", "y"):
        write_heads(tmp_path / name, "fixed", "moving", "other")
    cases = find_batch_cases(models["align"].card, tmp_path)
    assert [case.name for case in cases] == ["x", "y"]
    assert cases[1].files == {role: tmp_path / "y" / f"{role}.nii.gz" for role in ("fixed", "moving")}


def test_two_files_of_one_name_are_told_apart_by_no_one(model, tmp_path):
    write_heads(tmp_path, "a")
    write_volume(head(1), tmp_path / "a.nrrd")
    (case,) = find_batch_cases(model.card, tmp_path)
    assert case.problem == "The case 'a' has more than one source image (a.nii.gz and a.nrrd): keep one of them."


@pytest.mark.parametrize(("name", "folder", "sentence"), [
    ("t1-t2", "nowhere", "There is no input folder"), ("t1-t2", "empty", "put images (NIfTI, NRRD, MetaImage"),
    ("align", "empty", "it needs the subfolders 'fixed' and 'moving'"), ("align", "half", "but none for moving"),
])
def test_a_folder_without_cases_is_refused_with_what_it_needs(models, tmp_path, name, folder, sentence):
    (tmp_path / "empty").mkdir()
    write_heads(tmp_path / "half" / "fixed", "a")
    with pytest.raises(BatchError) as caught:
        find_batch_cases(models[name].card, tmp_path / folder)
    assert sentence in str(caught.value)


# What comes out


def test_results_lie_on_their_inputs_grid_with_a_report_each_and_a_record_of_all(model, place):
    states, _ = go(model, place, seed=4, precision="bf16")
    assert states == {"a": "done", "b": "failed", "c": "done"}
    assert files_in(place / "out") == ["a.json", "a_target.nii.gz", "batch.json", "c.json", "c_target.nii.gz"]
    assert read_volume(place / "out" / "c_target.nii.gz").grid.same_as(read_volume(place / "in" / "c.nii.gz").grid)
    report = json.loads((place / "out" / "a.json").read_text(encoding="utf-8"))
    assert (report["case"], report["model_hash"]) == ("a", model.sha256)
    assert (report["settings"]["seed"], report["settings"]["precision"]) == (4, "bf16")
    assert report["outputs"] == {"target": "a_target.nii.gz", "report": "a.json"}
    record = read_record(place / "out")
    assert (record.model, record.model_hash) == ("t1-t2", model.sha256)
    assert "'b.nii.gz' cannot be read as a volume" in record.cases["b"].error
    assert record.cases["a"].seconds > 0 and record.cases["a"].error == ""


def test_the_result_is_that_of_applying_the_model_alone(model, place):
    from GANSynthesisLib.inference import apply_model

    go(model, place, seed=3)
    alone = apply_model(model, {"source": read_volume(place / "in" / "c.nii.gz")}, seed=3, device="cpu")
    assert np.array_equal(read_volume(place / "out" / "c_target.nii.gz").voxels, alone.outputs["target"].voxels)


def test_registration_gives_transforms_and_segmentation_keeps_its_names(models, tmp_path):
    write_pairs(tmp_path / "in", 1)
    assert go(models["align"], tmp_path)[0] == {"sub-00": "done"}
    sitk.ReadTransform(str(tmp_path / "out" / "sub-00_transform.h5"))
    assert files_in(tmp_path / "out") == ["batch.json", "sub-00.json", "sub-00_transform.h5", "sub-00_warped.nii.gz"]
    run.run_batch(plan_batch(models["tissue"], write_heads(tmp_path / "t1", "a"), tmp_path / "labels"), **CPU)
    assert set(read_volume(tmp_path / "labels" / "a_segmentation.seg.nrrd").label_names.values()) == {"white matter"}
    run.run_batch(plan_batch(models["align"], tmp_path / "in", tmp_path / "part", outputs=["transform"]), **CPU)
    assert files_in(tmp_path / "part") == ["batch.json", "sub-00.json", "sub-00_transform.h5"]


def test_four_dimensional_and_incomplete_cases_fail_alone(models, tmp_path):
    write_pairs(tmp_path / "in", 3)
    (tmp_path / "in" / "moving" / "sub-00.nii.gz").unlink()
    frames = [sitk.GetImageFromArray(np.random.default_rng(n).random((4, 8, 8), np.float32)) for n in range(2)]
    sitk.WriteImage(sitk.JoinSeries(frames), str(tmp_path / "in" / "fixed" / "sub-01.nii.gz"))
    states, _ = go(models["align"], tmp_path)
    assert states == {"sub-00": "failed", "sub-01": "failed", "sub-02": "done"}
    record = read_record(tmp_path / "out")
    assert "has no moving image" in record.cases["sub-00"].error
    assert "2 channels or time points" in record.cases["sub-01"].error


def test_warnings_on_reading_are_in_the_report(model, place, monkeypatch):
    import warnings

    def read(path):
        warnings.warn(f"{path.name} was straightened", stacklevel=1)
        return read_volume(path)

    monkeypatch.setattr(run, "read_volume", read)
    go(model, place)
    assert "a.nii.gz was straightened" in json.loads((place / "out" / "a.json").read_text())["warnings"]
    assert "a.nii.gz was straightened" in read_record(place / "out").cases["a"].warnings


def test_progress_goes_up_over_all_cases_and_names_them(model, place):
    heard = []
    plan = plan_batch(model, place / "in", place / "out")
    run.run_batch(plan, progress=lambda fraction, text: heard.append((fraction, text)), **CPU)
    fractions = [fraction for fraction, text in heard]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    assert heard[0][1] == "case 1 of 3, a: reading" and (2 / 3, "case 3 of 3, c: reading") in heard
    assert (1 / 3, "case 1 of 3, a: writing") in heard


def test_nothing_is_written_into_the_input_folder(model, place):
    before = files_in(place / "in")
    go(model, place)
    assert files_in(place / "in") == before


# Going on


def test_a_second_run_tries_only_what_failed_again(model, place):
    go(model, place)
    made = (place / "out" / "a_target.nii.gz").stat().st_mtime_ns
    states, worked_on = go(model, place)
    assert (states, worked_on) == ({"a": "done", "b": "failed", "c": "done"}, ["b"])
    assert (place / "out" / "a_target.nii.gz").stat().st_mtime_ns == made
    write_volume(head(5), place / "in" / "b.nii.gz")
    assert go(model, place) == ({"a": "done", "b": "done", "c": "done"}, ["b"])


def test_a_changed_image_or_a_lost_result_is_done_again(model, place):
    go(model, place)
    write_volume(head(7), place / "in" / "a.nii.gz")
    (place / "out" / "c.json").unlink()
    states, worked_on = go(model, place)
    assert worked_on == ["a", "b", "c"] and states["a"] == states["c"] == "done"


def test_a_plan_still_tells_what_failed_before(model, place):
    go(model, place)
    plan = plan_batch(model, place / "in", place / "out")
    assert [case.name for case in plan.remaining] == ["b"]
    assert "cannot be read as a volume" in plan.record.cases["b"].error
    (place / "in" / "b.nii.gz").write_bytes(b"something else")
    assert plan_batch(model, place / "in", place / "out").record.cases["b"].state == "waiting"


def test_folders_may_move_together(model, place):
    go(model, place)
    (place / "elsewhere").mkdir()
    for name in ("in", "out"):
        os.rename(place / name, place / "elsewhere" / name)
    assert go(model, place / "elsewhere")[1] == ["b"]


def test_results_of_cases_that_left_the_folder_stay_recorded(model, place):
    go(model, place)
    os.rename(place / "in" / "a.nii.gz", place / "a.nii.gz")
    assert go(model, place)[1] == ["b"]
    os.rename(place / "a.nii.gz", place / "in" / "a.nii.gz")
    assert go(model, place)[1] == ["b"]


def test_another_model_or_other_settings_are_refused_until_restarted(model, models, place, tmp_path):
    go(model, place)
    other = write_model(tmp_path / "other", "t1-t2", seed=1)
    with pytest.raises(BatchError, match="holds a batch of another model, 't1-t2': choose another folder, or restart"):
        plan_batch(other, place / "in", place / "out")
    with pytest.raises(BatchError, match=r"other settings \(seed\)"):
        plan_batch(model, place / "in", place / "out", seed=1)
    states, worked_on = go(other, place, restart=True)
    assert worked_on == ["a", "b", "c"] and read_record(place / "out").model_hash == other.sha256


def test_restarting_removes_what_the_batch_before_had_made(model, place):
    go(model, place)
    (place / "in" / "a.nii.gz").write_bytes(b"no image any more")
    assert go(model, place, restart=True)[0]["a"] == "failed"
    assert files_in(place / "out") == ["batch.json", "c.json", "c_target.nii.gz"]


# Stopping and failing


def test_stopping_leaves_whole_cases_only_and_the_next_run_goes_on(model, place):
    asked = []

    def cancelled():
        asked.append(True)
        record = read_record(place / "out")
        return record is not None and record.cases["c"].state == "running"

    with pytest.raises(Cancelled):
        run.run_batch(plan_batch(model, place / "in", place / "out"), cancelled=cancelled, **CPU)
    assert files_in(place / "out") == ["a.json", "a_target.nii.gz", "batch.json"]
    assert {name: each.state for name, each in read_record(place / "out").cases.items()} == {
        "a": "done", "b": "failed", "c": "waiting"}
    assert go(model, place) == ({"a": "done", "b": "failed", "c": "done"}, ["b", "c"])


def test_a_result_that_cannot_be_written_leaves_nothing_of_its_case(models, tmp_path, monkeypatch):
    write_pairs(tmp_path / "in", 2)

    def full_disk(volume, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("GANSynthesisLib.result.write_volume", full_disk)
    assert go(models["align"], tmp_path)[0] == {"sub-00": "failed", "sub-01": "failed"}
    assert files_in(tmp_path / "out") == ["batch.json"], "the transform was whole, the warped image was not"
    assert "cannot be written (No space left on device)" in read_record(tmp_path / "out").cases["sub-01"].error


@pytest.mark.parametrize(("error", "sentence"), [
    (RuntimeError("CUDA out of memory. Tried"), "The memory is not enough for this case"),
    (MemoryError(), "The memory is not enough for this case"), (KeyError("x"), "KeyError: 'x'"),
])
def test_whatever_goes_wrong_with_a_case_the_others_are_done(model, place, monkeypatch, error, sentence):
    apply = run.apply_model

    def sometimes(*arguments, **options):
        if read_record(place / "out").cases["a"].state == "running":
            raise error
        return apply(*arguments, **options)

    monkeypatch.setattr(run, "apply_model", sometimes)
    assert go(model, place)[0] == {"a": "failed", "b": "failed", "c": "done"}
    assert read_record(place / "out").cases["a"].error.startswith(sentence)


def test_what_a_killed_batch_left_is_cleaned_up_and_done_again(model, place):
    go(model, place)
    path = place / "out" / "batch.json"
    content = json.loads(path.read_text())
    content["cases"]["c"]["state"] = "running"
    path.write_text(json.dumps(content))
    (place / "out" / ".writing-x").mkdir()
    (place / "out" / ".writing-x" / "c_target.nii.gz").write_bytes(b"half")
    assert go(model, place)[1] == ["b", "c"]
    assert files_in(place / "out") == ["a.json", "a_target.nii.gz", "batch.json", "c.json", "c_target.nii.gz"]


# What is refused before any work


@pytest.mark.parametrize("output", ["in", "in/results"])
def test_results_in_the_input_folder_are_refused(model, place, output):
    with pytest.raises(BatchError, match="lies in the input folder, where nothing is written"):
        plan_batch(model, place / "in", place / output)


def test_a_file_that_no_batch_made_is_not_replaced(model, place):
    mine = place / "out" / "a_target.nii.gz"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    with pytest.raises(BatchError, match="holds a_target.nii.gz, which no batch has made"):
        plan_batch(model, place / "in", place / "out")
    assert mine.read_bytes() == b"mine"
    assert go(model, place, restart=True)[0]["a"] == "done"


@pytest.mark.parametrize(("names", "sentence"), [
    (("batch",), "'batch' and the batch itself would both write batch.json"),
    (("A", "a"), "'a' and the case 'A' would both write a_target.nii.gz"),
])
def test_cases_whose_results_would_meet_are_refused(model, tmp_path, names, sentence):
    write_heads(tmp_path / "in", *names)
    with pytest.raises(BatchError, match=sentence):
        plan_batch(model, tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize("text", ["", "[]", '{"format": 1}', '{"format": 99}', '{"format": 1, "cases": {"a": {}}}'])
def test_a_damaged_or_newer_record_is_refused(model, place, text):
    (place / "out").mkdir()
    (place / "out" / "batch.json").write_text(text)
    with pytest.raises(BatchError, match="batch.json (is not the record of a batch|was written by a newer)"):
        plan_batch(model, place / "in", place / "out")


@pytest.mark.parametrize(("options", "sentence"), [
    ({"outputs": ["ct"]}, "has no output 'ct'"), ({"precision": "16"}, "must be 32 or bf16"),
    ({"optimize": 3}, "only to a registration"),
])
def test_options_that_the_model_does_not_have_are_refused(model, place, options, sentence):
    with pytest.raises(ModelError, match=sentence):
        plan_batch(model, place / "in", place / "out", **options)
    assert not (place / "out").exists()


def test_an_unknown_device_is_refused_before_anything_is_written(model, place):
    with pytest.raises(ValueError, match="is no device"):
        run.run_batch(plan_batch(model, place / "in", place / "out"), device="tpu")
    assert not (place / "out").exists()


def test_planning_needs_no_torch():
    import subprocess
    import sys
    from pathlib import Path

    program = "import sys, GANSynthesisLib.batch; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).resolve().parents[2], check=True)


# Two at once


def test_only_one_batch_writes_into_a_folder(tmp_path):
    with locked(tmp_path / "out"):
        with pytest.raises(BatchError, match="Another batch is writing into .*out: wait for it"):
            with locked(tmp_path / "out"):
                pass
        with locked(tmp_path / "elsewhere"):
            pass
    with locked(tmp_path / "out"):
        pass
    assert files_in(tmp_path / "out") == []


def test_a_killed_process_leaves_no_lock_behind(tmp_path):
    held = (f"import sys, time; sys.path.insert(0, {str(ROOT)!r})\n"
            "from pathlib import Path; from GANSynthesisLib.batch.lock import locked\n"
            f"with locked(Path({str(tmp_path)!r})): print('held', flush=True); time.sleep(600)")
    process = subprocess.Popen([sys.executable, "-c", held], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    with pytest.raises(BatchError, match="Another batch"), locked(tmp_path):
        pass
    process.kill()
    process.wait()
    assert files_in(tmp_path) == [LOCK_NAME], "a file that locks nothing"
    with locked(tmp_path):
        pass
    assert files_in(tmp_path) == []
