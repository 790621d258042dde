"""Files that workers write for the panel: whole or not there, also where a worker is ended in the middle."""

import dataclasses
import os
import signal
import time

import pytest
import torch
from panel_fixtures import add_model
from synthetic_cases import head

from GANSynthesisLib import jobs
from GANSynthesisLib import models as library
from GANSynthesisLib.jobs.exchange import Exchange
from GANSynthesisLib.models import load_model, save_model


@pytest.fixture
def worker():
    made = jobs.Worker("files")
    yield made
    made.stop()


@pytest.fixture
def path(place):
    """A model file of 64 MB: writing it takes a moment."""
    card = add_model("t1-t2")
    file = library.user_models_folder() / "t1-t2.safetensors"
    save_model(file, {"weights": torch.rand(16_000_000)}, card)
    return file


def started(worker, path, title: str):
    card = dataclasses.replace(load_model(path).card, title=title)
    return worker.start("card", {"model": str(path), "card": card.to_json()}, grace=30)


def wait(worker, job, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not job.finished:
        assert time.monotonic() < end, job
        worker.poll()
        time.sleep(0.002)


def test_a_card_is_written_and_the_weights_stay(worker, path):
    before = load_model(path)
    job = started(worker, path, "Köpfe")
    wait(worker, job)
    after = load_model(path)
    assert job.result == str(path) and after.card.title == "Köpfe" and after.sha256 == before.sha256


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_worker_killed_while_it_writes_leaves_the_whole_old_file_or_the_whole_new_one(worker, path):
    wait(worker, started(worker, path, "First"))
    for number in range(8):
        before = load_model(path).card.title
        job = started(worker, path, f"Title {number}")
        end = time.monotonic() + 0.03 * number
        while time.monotonic() < end:
            worker.poll()
        if worker.pid:
            os.kill(worker.pid, signal.SIGKILL)
        wait(worker, job)
        assert load_model(path).card.title in (before, f"Title {number}")
        assert job.state == "done" or job.error.startswith("The worker process ")
    wait(worker, started(worker, path, "Last"))
    assert load_model(path).card.title == "Last"
    assert [each.name for each in path.parent.iterdir()] == [path.name], "what killed workers have begun"


def test_a_file_that_is_no_model_any_more_is_told_in_one_sentence(worker, path):
    job = started(worker, path, "Title")
    wait(worker, job)
    path.write_bytes(path.read_bytes()[:1000])
    job = worker.start("card", {"model": str(path), "card": job.arguments["card"]})
    wait(worker, job)
    assert job.state == "failed" and "truncated" in job.error and job.error.count(".safetensors") == 1


def test_a_case_is_written_only_where_its_folder_still_is(worker, tmp_path):
    exchange, folder = Exchange.create(tmp_path), tmp_path / "source"
    described = exchange.write(head())
    arguments = {"folder": str(exchange.folder), "volume": described, "path": str(folder / "a.nii"), "channels": 0}
    job = worker.start("case file", arguments)
    wait(worker, job)
    assert job.state == "cancelled" and not folder.exists()
    folder.mkdir()
    job = worker.start("case file", arguments)
    wait(worker, job)
    assert job.state == "done" and [each.name for each in folder.iterdir()] == ["a.nii"]
