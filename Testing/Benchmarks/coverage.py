"""Are the first and the last slices of a stack missing? Measured on patients that were not trained on.

    python Testing/Benchmarks/coverage.py [--data DIR] [--patients NAME ...] [--steps N]

A model is trained without the patients named, by default once without each (kept as runs/coverage-PATIENTS.safetensors
and used again). Their stacks, slices of 6 mm every 12 mm, about a dozen of a brain, as there are of a heart, are cut
by 0 to 3 slices at either end, every cut with every other. Right is, at each end, that it is missing where a slice or
more was cut, and there where none was. The peer is the share of the more frequent answer. Brains are skull-stripped
MR of five patients in every contrast; chests are three proton MR and one CT, of which models have seen MR only.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path

from command import ROOT, RUNS, Entry, LeftOut, existing_folder, parser, print_table, run

sys.path.append(str(ROOT / "Resources" / "Training"))

from stack_coverage import BRAIN, CHEST, STEPS, train_coverage  # noqa: E402
from whole_stacks import Stack, brains, chests  # noqa: E402

from GANSynthesisLib.coverage import FEWEST, judge_coverage  # noqa: E402
from GANSynthesisLib.inference import apply_model  # noqa: E402
from GANSynthesisLib.models import load_model  # noqa: E402

MILLIMETRES, EVERY = 6.0, 2  # thickness; every second slice is taken, with a gap between, about a dozen for a brain
CUTS = 0, 1, 2, 3  # slices


def model_without(patients: Sequence[str], stacks: list[Stack], region: dict, steps: int) -> Path:
    """A model that has not seen the patients; trained where there is none yet."""
    path = RUNS / f"coverage-{'-'.join(patients)}.safetensors"
    if not path.exists():
        print(f"training without {' and '.join(patients)}", flush=True)
        train_coverage([stack for stack in stacks if stack.subject not in patients], region, path, steps=steps)
    return path


def judged(stack: Stack, model, device: str) -> list[tuple[int, bool]]:
    """(slices cut, whether the answer was right) for either end of every cut of a stack.

    A slice is looked at by itself, so that those of a cut stack have the positions that they have in the whole one.
    """
    found, thick = [], stack.thick(MILLIMETRES)
    told = apply_model(model, {"image": thick.volume}, device=device).outputs["class"].positions
    for start in range(EVERY):
        chosen = range(start, len(told), EVERY)
        within = [number for number in chosen if -0.5 <= thick.positions()[number] * (thick.last - thick.first)
                  <= thick.last - thick.first + 0.5]
        for below in CUTS:
            for above in CUTS:
                part = [number for number in chosen if (not below or number >= within[below])
                        and (not above or number <= within[-1 - above])]
                if sum(math.isfinite(told[number]) for number in part) < FEWEST:
                    continue
                answer = judge_coverage([told[number] for number in part], name=stack.name)
                for cut, missing in ((below, answer.missing[0]), (above, answer.missing[1])):
                    found.append((cut, (missing > 0) == (cut > 0)))
    return found


def measure(data: Path | None, patients: list[str], steps: int, device: str) -> list[Entry]:
    folder, entries = existing_folder(data), []
    for title, stacks, region in (("brain", brains(folder), BRAIN), ("chest", chests(folder), CHEST)):
        there = dict.fromkeys(stack.subject for stack in stacks)
        left_out = [[name for name in there if name in patients]] if patients else [[name] for name in there]
        rows, together = [], []
        for group in filter(None, left_out):
            model = load_model(model_without(group, stacks, region, steps))
            for patient in group:
                found = [each for stack in stacks if stack.subject == patient for each in judged(stack, model, device)]
                together += found
                rows.append([patient, *_accuracies(found)])
        if not rows:
            continue
        rows.append(["all", *_accuracies(together)])
        print_table(f"Ends told rightly, {title} (%)", ["left out", "complete", *(f"{cut} cut" for cut in CUTS[1:]),
                                                        "all"], rows)
        share = sum(right for _, right in together) / len(together)
        usual = max(sum(cut > 0 for cut, _ in together), sum(cut == 0 for cut, _ in together)) / len(together)
        entries.append(Entry(f"coverage, {title}", 100 * share, 100 * usual, "%",
                             "ends of stacks of patients left out that are rightly told missing or there; higher is "
                             "better; peer: always the more frequent answer"))
    if not entries:
        raise LeftOut(f"no patient is named {', '.join(patients)}")
    return entries


def _accuracies(found: list[tuple[int, bool]]) -> list[str]:
    parts = [[right for cut, right in found if cut == wanted] for wanted in CUTS]
    return [f"{100 * sum(part) / len(part):.1f}" for part in (*parts, [right for _, right in found])]


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--patients", nargs="*", default=[],
                           help="those to leave out together; by default each in turn")
    arguments.add_argument("--steps", type=int, default=STEPS)
    chosen = arguments.parse_args()
    sys.exit(run(lambda: measure(chosen.data, chosen.patients, chosen.steps, chosen.device)))
