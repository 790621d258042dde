"""Jobs: long work in a process of its own, so that whoever asks for it never waits.

`worker(name)` is a warm process that keeps its imports and networks from job to job; `Worker.start` gives a `Job`,
whose state, progress, result and error are looked at after `Worker.poll()`, which never blocks. Volumes travel through
an `exchange.Exchange`, a folder of `.npy` files that both sides map into memory.
"""

from GANSynthesisLib.jobs.job import Job, JobError, busy_sentence
from GANSynthesisLib.jobs.worker import Worker, poll_all, stop_all, worker

__all__ = ["Job", "JobError", "Worker", "busy_sentence", "poll_all", "stop_all", "worker"]
