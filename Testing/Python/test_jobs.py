"""Jobs: real worker processes, and everything that can happen to them."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fault_work import command

from GANSynthesisLib import jobs
from GANSynthesisLib.grid import Grid
from GANSynthesisLib.jobs import JobError, Worker
from GANSynthesisLib.jobs.exchange import Exchange
from GANSynthesisLib.jobs.process import is_alive
from GANSynthesisLib.transforms import SpatialTransform
from GANSynthesisLib.volumes import Volume

posix = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


class Clock:
    """A clock that stands still unless it is told to go on."""

    def __init__(self):
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def worker():
    one = Worker("test", command)
    yield one
    one.stop()


def until(worker: Worker, condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{worker.state}: {worker.job}"
        worker.poll()
        time.sleep(0.005)


def finished(worker: Worker, seconds: float = 60):
    until(worker, lambda: worker.job.finished, seconds)
    return worker.job


def is_gone(pid: int, seconds: float = 5) -> bool:
    """Whether the process ends, or is a zombie that nobody but its reaper can see."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if not is_alive(pid) or Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] == "Z":
                return True
        if not is_alive(pid):
            return True
        time.sleep(0.01)
    return False


def test_a_worker_stays_warm_and_says_what_it_is_at(worker):
    assert worker.state == "idle"
    job = worker.start("steps", {"seconds": 0.5})
    seen = []
    while not job.finished:
        worker.poll()
        seen.append(job.state)
        time.sleep(0.005)
    assert list(dict.fromkeys(seen)) == ["starting", "running", "done"]
    assert job.result == "whole" and job.fraction == 1 and job.text == "working"
    first = worker.pid
    assert worker.start("answer", {"a": [1, None, "ö"]}).state == "running"
    assert finished(worker).result == {"a": [1, None, "ö"]}
    assert worker.pid == first and worker.memory["host"] > 0


def test_a_busy_worker_takes_no_second_job(worker):
    worker.start("steps", {"seconds": 5})
    with pytest.raises(JobError, match="Another job is running"):
        worker.start("answer", {})


def test_what_is_left_is_told_from_what_is_done(worker):
    job = worker.start("steps", {"seconds": 2})
    until(worker, lambda: job.fraction > 0.5)
    assert 0.3 < job.remaining < 2


@pytest.mark.parametrize("kind, words", [
    ("wrong", "Volume 'A' is empty: load an image into it first."),
    ("broken", "KeyError: 'inner'"),
    ("exhausted", "The machine ran out of memory: close other programs, choose a smaller tile size, or restrict the "
                  "work to a region (12 GB)."),
    ("no such", "There is no work 'no such'"),
])
def test_an_error_is_one_sentence_and_the_worker_lives_on(worker, kind, words):
    worker.start(kind, {})
    job = finished(worker)
    assert job.state == "failed" and job.error.startswith(words) and "Traceback" in job.details
    pid = worker.pid
    worker.start("answer", {})
    assert finished(worker).state == "done" and worker.pid == pid


def test_what_libraries_print_is_log_and_not_a_message(worker):
    worker.start("chatty", {})
    job = finished(worker)
    assert job.state == "done"
    until(worker, lambda: "complained" in job.log)
    assert "said" in job.log and "printed 19999" in job.log


def test_cancel_between_steps_is_quick_and_keeps_the_worker(worker):
    job = worker.start("steps", {"seconds": 100})
    until(worker, lambda: job.fraction > 0)
    pid, begin = worker.pid, time.monotonic()
    job.cancel()
    assert job.state == "cancelling"
    assert finished(worker).state == "cancelled" and time.monotonic() - begin < 1
    assert worker.pid == pid
    worker.start("answer", {})
    assert finished(worker).state == "done"


def test_cancel_before_the_worker_is_ready_never_begins_the_work(worker):
    job = worker.start("steps", {"seconds": 100})
    job.cancel()
    assert finished(worker, 1).state == "cancelled"
    worker.start("answer", {"b": 2})
    assert finished(worker).result == {"b": 2}


def test_cancel_of_work_that_does_not_listen_ends_the_process(worker):
    job = worker.start("stubborn", {})
    until(worker, lambda: job.fraction > 0)
    pid, begin = worker.pid, time.monotonic()
    job.cancel()
    assert finished(worker).state == "cancelled" and time.monotonic() - begin < 2
    worker.start("answer", {})
    assert finished(worker).state == "done" and worker.pid != pid
    assert is_gone(pid)


@posix
def test_children_end_with_the_worker(worker):
    job = worker.start("parent", {})
    until(worker, lambda: job.text)
    child = int(job.text)
    job.cancel()
    finished(worker)
    until(worker, lambda: worker.pid is None)
    assert is_gone(child)


@posix
@pytest.mark.parametrize("moment", ["starting", "running", "cancelling"])
def test_a_worker_killed_from_outside_is_one_sentence_and_the_next_job_works(worker, moment):
    job = worker.start("stubborn", {}, grace=100)
    if moment != "starting":
        until(worker, lambda: job.fraction > 0)
    if moment == "cancelling":
        job.cancel()
        worker.poll()
    os.kill(worker.pid, signal.SIGKILL)
    job = finished(worker)
    if moment == "cancelling":
        assert job.state == "cancelled"
    else:
        assert job.state == "failed" and "\n" not in job.error
        assert job.error.startswith("The worker process was ended by the system, most often because memory ran out")
    worker.start("answer", {})
    assert finished(worker).state == "done"


@posix
def test_a_worker_that_gives_no_sign_of_life_is_ended():
    clock = Clock()
    worker = Worker("test", command, clock)
    job = worker.start("stubborn", {})
    until(worker, lambda: job.fraction > 0)
    pid = worker.pid
    os.kill(pid, signal.SIGSTOP)
    time.sleep(0.1)
    clock.now += 1000  # a pause of the asker's is no silence of the worker's
    worker.poll()
    assert job.state == "running"
    for _ in range(40):
        clock.now += 1
        worker.poll()
    assert job.state == "failed" and "has not answered for a while" in job.error
    assert is_gone(pid)


@pytest.mark.parametrize("words", ["print('hello there')", "print(5)", "print('{\"type\": \"alive\"}')"])
def test_garbage_from_a_worker_is_one_sentence_with_what_it_said(words):
    worker = Worker("test", lambda: [sys.executable, "-u", "-c", f"import time; {words}; time.sleep(1000)"])
    worker.start("answer", {})
    pid, job = worker.pid, finished(worker)
    assert job.state == "failed" and "sent something that is no message" in job.error
    assert is_gone(pid)


def test_a_worker_that_cannot_start_says_so(worker):
    nothing = Worker("test", lambda: ["/no/such/python"])
    with pytest.raises(JobError, match="cannot be started"):
        nothing.start("answer", {})
    dies = Worker("test", lambda: [sys.executable, "-c", "raise SystemExit('no module named torch')"])
    dies.start("answer", {})
    assert "ended with status 1" in finished(dies).error and "no module named torch" in dies.job.error


@posix
def test_a_worker_ends_when_its_asker_is_killed():
    script = (
        f"import sys; sys.path[:0] = {sys.path!r}\n"
        "from fault_work import command; from GANSynthesisLib.jobs import Worker; import time\n"
        "w = Worker('test', command); j = w.start('steps', {'seconds': 1000})\n"
        "while j.fraction == 0: w.poll(); time.sleep(0.01)\n"
        "print(w.pid, flush=True); time.sleep(1000)"
    )
    asker = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    pid = int(asker.stdout.readline())
    asker.kill()
    asker.wait()
    assert is_gone(pid)


def test_work_that_is_left_behind_still_writes_its_checkpoint(worker, tmp_path):
    job = worker.start("saving", {"file": str(tmp_path / "checkpoint")}, grace=30)
    until(worker, lambda: job.fraction > 0)
    pid = worker.pid
    worker.leave()
    assert job.state == "cancelled" and is_gone(pid)
    assert (tmp_path / "checkpoint").read_text() == "checkpoint"
    worker.start("answer", {})
    assert finished(worker).state == "done"


@posix
def test_a_job_given_to_a_worker_that_dies_before_it_begins_is_done_by_the_next_one(worker):
    worker.start("answer", {})
    finished(worker)
    pid = worker.pid
    os.kill(pid, signal.SIGSTOP)
    worker.start("answer", {"a": 1})
    os.kill(pid, signal.SIGKILL)
    assert finished(worker).result == {"a": 1} and worker.pid != pid


@posix
def test_a_job_that_was_begun_is_not_begun_again(worker):
    worker.start("answer", {})
    finished(worker)
    job = worker.start("steps", {"seconds": 60})
    until(worker, lambda: job.fraction > 0)
    os.kill(worker.pid, signal.SIGKILL)
    assert finished(worker).state == "failed"


def test_named_workers_are_one_each():
    assert jobs.worker("one of a kind") is jobs.worker("one of a kind")


# --- exchange


def test_volumes_and_transforms_come_back_equal_and_mapped(tmp_path):
    exchange = Exchange.create(tmp_path)
    matrix = np.array([[0, -2.0, 0, 5], [1.5, 0, 0, -7], [0, 0, 3, 1], [0, 0, 0, 1]])
    volume = Volume(np.arange(60, dtype=np.int16).reshape(3, 4, 5)[:, ::-1], matrix, "HU", "CT", {1: "bone"})
    field = np.random.default_rng(0).normal(size=(3, 4, 5, 6)).astype(np.float32)
    transform = SpatialTransform(matrix, field, Grid((4, 5, 6), matrix))
    there = Exchange(exchange.folder)
    found, moved = (there.read(exchange.write(each)) for each in (volume, transform))
    assert isinstance(found.voxels.base, np.memmap) and not found.voxels.flags.writeable
    assert found.voxels.dtype == np.int16 and np.array_equal(found.voxels, volume.voxels)
    assert np.array_equal(found.ijk_to_ras, matrix)
    assert (found.unit, found.name, found.label_names) == ("HU", "CT", {1: "bone"})
    assert np.array_equal(moved.displacement, field) and moved.grid.same_as(transform.grid)
    linear = there.read(exchange.write(SpatialTransform(matrix)))
    assert linear.displacement is None and np.array_equal(linear.matrix, matrix)
    exchange.remove()
    assert not exchange.folder.exists()


def test_writing_is_done_in_short_steps(tmp_path):
    steps = Exchange.create(tmp_path).writing(Volume(np.zeros((40, 512, 512), np.float32)))
    assert sum(1 for _ in steps) == 5


@posix
def test_a_full_disk_is_one_sentence(tmp_path):
    exchange = Exchange.create(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        with pytest.raises(JobError, match="writing 4 MB into .* failed .*free some space"):
            exchange.write(Volume(np.zeros((16, 256, 256), np.float32)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@posix
def test_folders_of_processes_that_are_no_more_are_removed(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    stale, others = tmp_path / f"gansynthesis-{process.pid}-abc", tmp_path / "gansynthesis-notes"
    stale.mkdir()
    others.mkdir()
    mine = Exchange.create(tmp_path)
    assert not stale.exists() and others.exists() and mine.folder.exists()
    assert Exchange.create(tmp_path).folder.exists() and mine.folder.exists()
