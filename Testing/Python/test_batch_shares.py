"""Several processes share the cases of a batch."""

import pytest
from batch_fixtures import files_in, write_heads, write_model

from GANSynthesisLib.batch import plan_batch, read_record, run
from GANSynthesisLib.shares import Share

NAMES = ("a", "b", "c", "d", "e")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("models"), "t1-t2")


@pytest.fixture
def place(tmp_path):
    write_heads(tmp_path / "in", *NAMES)
    return tmp_path


def go(model, place, share=None) -> list[str]:
    """The cases that were worked on."""
    said = []
    run.run_batch(plan_batch(model, place / "in", place / "out"), device="cpu", share=share,
                  said=lambda name, case: said.append(name))
    return said


def states(place) -> dict[str, str]:
    return {name: case.state for name, case in read_record(place / "out").cases.items()}


def test_each_case_is_done_by_one_of_the_processes(model, place):
    done = [go(model, place, Share(rank, 2)) for rank in (1, 0)]
    assert done == [["b", "d"], ["a", "c", "e"]]
    assert states(place) == dict.fromkeys(NAMES, "done")
    assert go(model, place) == []
    assert "batch.json" in files_in(place / "out")
    assert states(place) == dict.fromkeys(NAMES, "done")


def test_what_another_process_makes_at_the_same_time_is_left_alone(model, place):
    plans = [plan_batch(model, place / "in", place / "out") for _ in range(2)]  # both look before either works
    for rank, plan in enumerate(plans):
        run.run_batch(plan, device="cpu", share=Share(rank, 2))
    assert states(place) == dict.fromkeys(NAMES, "done")
    assert all((place / "out" / f"{name}_target.nii.gz").exists() for name in NAMES)


def test_another_number_of_processes_goes_on_with_what_is_left(model, place):
    assert go(model, place, Share(0, 2)) == ["a", "c", "e"]
    assert [go(model, place, Share(rank, 3)) for rank in range(3)] == [["d"], ["b"], []]
    assert states(place) == dict.fromkeys(NAMES, "done")
