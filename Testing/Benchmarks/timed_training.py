"""Training runs in processes of their own, which take one step at a time and say how long it took.

Runs that are compared live side by side and take turns, so that whatever else the machine does meets all of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import command  # noqa: F401  puts the library on the path
import numpy as np

STEPS = 1_000_000  # never reached


class TimedRun:
    """A run in a process of its own; `step()` lets it take one step.

    job: `kind` (`engine`, or `reference`), and what `engine_steps` or `reference.reference_steps` takes. processes: of
    the run, started by torchrun; threads: of each.
    """

    def __init__(self, job: dict, threads: int | None = None, processes: int = 1):
        start = [sys.executable]
        if processes > 1:
            start += ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
        words = [*start, str(Path(__file__).resolve()), json.dumps(job)]
        environment = {**os.environ, **({"OMP_NUM_THREADS": str(threads)} if threads else {})}
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True, env=environment)

    def step(self) -> dict[str, float]:
        """Let it take a step: `seconds`, `cpu` (seconds of the first process), `waiting` (seconds for data),
        and `memory` of the first process."""
        with suppress(BrokenPipeError):  # it has failed, and what it said follows
            self.process.stdin.write("go\n")
            self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise RuntimeError(f"The run ended by itself: {self.process.stderr.read()[-2000:]}")

    def end(self) -> None:
        self.process.communicate()  # without a word, and no more can come: the run stops


@contextmanager
def timed_runs(jobs: dict[str, dict], **options):
    """Name -> TimedRun, ended with the context."""
    runs = {name: TimedRun(job, **options) for name, job in jobs.items()}
    try:
        yield runs
    finally:
        for each in runs.values():
            each.end()


def medians(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.median([row[name] for row in rows])) for name in rows[0]}


def memory() -> dict[str, float]:
    """MB of this process: resident (with files that it looks at), its peak, and anonymous; 0 where the system does not
    say."""
    found = {"VmRSS": 0.0, "VmHWM": 0.0, "RssAnon": 0.0}
    if Path("/proc/self/status").exists():
        for line in Path("/proc/self/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in found:
                found[name] = int(value.split()[0]) / 1024
    return {"resident": found["VmRSS"], "peak": found["VmHWM"], "anonymous": found["RssAnon"]}


class Clock:
    """Waits for the word to take the next step, and says what the last one took."""

    def __init__(self):
        self.waiting, self.started = 0.0, None

    def tick(self) -> bool:
        """After a step (and before the first one); False when it was the last one."""
        if self.started is not None:
            spent = {"seconds": time.perf_counter() - self.started[0], "cpu": time.process_time() - self.started[1]}
            print(json.dumps({**spent, "waiting": self.waiting, **memory()}), flush=True)
        goes_on = bool(sys.stdin.readline())
        self.waiting, self.started = 0.0, (time.perf_counter(), time.process_time())
        return goes_on


def engine_steps(clock: Clock, system: str, data: str, output: str, settings: dict, precision: str = "32") -> None:
    """The run that `python -m GANSynthesisLib train` is, stopped after every step."""
    from GANSynthesisLib.progress import Cancelled
    from GANSynthesisLib.training import train
    from GANSynthesisLib.training.patches import PatchSampler

    batch, goes_on = PatchSampler.batch, [True]

    def timed_batch(sampler, device):
        began = time.perf_counter()
        found = batch(sampler, device)
        clock.waiting += time.perf_counter() - began
        return found

    def progress(fraction: float, text: str) -> None:
        if text.startswith("step "):
            goes_on[0] = clock.tick()

    PatchSampler.batch = timed_batch
    try:
        train(system, Path(data), Path(output), settings=settings, steps=STEPS, precision=precision, device="cpu",
              progress=progress, cancelled=lambda: not goes_on[0])
    except Cancelled:
        pass


def main() -> None:
    job = json.loads(sys.argv[1])
    kind = job.pop("kind")
    if kind == "reference":
        from reference_cyclegan import reference_steps

        reference_steps(Clock(), **job)
    else:
        engine_steps(Clock(), **job)


if __name__ == "__main__":
    main()
