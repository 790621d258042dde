"""Training runs for torchrun: trains every job of a JSON file, with as many processes as were started."""

import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from GANSynthesisLib.progress import Cancelled  # noqa: E402
from GANSynthesisLib.shares import own_share  # noqa: E402
from GANSynthesisLib.training import train  # noqa: E402
from GANSynthesisLib.training.cases import DataError  # noqa: E402


def main() -> None:
    torch.set_num_threads(1)
    rank = own_share().rank
    for job in json.loads(Path(sys.argv[1]).read_text()):
        canceled_by, after = job.pop("canceled_by", None), job.pop("after", 0)
        asked = iter(range(10**6))

        def cancelled(canceled_by=canceled_by, after=after, asked=asked) -> bool:
            return rank == canceled_by and next(asked) >= after

        said = Path(f"{job['output']}.said-{rank}")
        with said.open("w") as stream:
            try:
                train(job.pop("system"), Path(job.pop("data")), Path(job.pop("output")), **job, device="cpu",
                      cancelled=cancelled, progress=lambda fraction, text, stream=stream: print(text, file=stream))
            except (Cancelled, DataError) as stopped:
                Path(f"{said}-stopped").write_text(str(stopped))


if __name__ == "__main__":
    main()
