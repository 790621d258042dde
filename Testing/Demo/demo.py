"""The demonstration: the shipped models in a scene of Slicer's libraries, on images that come with Python packages.

    make demo            (or: python Testing/Demo/demo.py [--output FOLDER] [--screenshot])

A T1-weighted average brain becomes a synthetic T2, the T2 becomes a tissue segmentation, and the T2, displaced in a
known way, is registered back onto the T1. Everything is checked; the exit status is 1 where a check fails.
"""

import argparse
import json
import shutil
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "Testing"), str(REPOSITORY / "GANSynthesis")]
SCREENSHOT = REPOSITORY / "Resources" / "Screenshots" / "overview.png"

HOW_TO_LOOK = """
To look at it in 3D Slicer: drag {scene} onto Slicer's window
(or File > Add Data > Choose File(s) to Add) and press OK. The slice views show
  - the T1 with the aligned T2 half-transparent over it (the slider in a view's bar fades between them),
  - the tissues found in the synthetic T2 as outlines: CSF, gray matter, white matter.
In module Data: the synthetic T2; 'Displaced T2', as it lay before, under no transform (move it under the
transform and it falls into place); every output's tool tip says which model made it, and from what.
The same in one picture: {overview}
"""


def main() -> int:
    """Run everything; 0 where all checks pass, 1 where one fails or something is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "demo", help="folder to write, replaced whole")
    parser.add_argument("--screenshot", action="store_true", help="where all checks pass, copy the overview to "
                        "Resources/Screenshots/overview.png, the picture of the extension")
    arguments = parser.parse_args()
    started = time.perf_counter()
    say("GANSynthesis demonstration: a T1-weighted brain in, new volumes, segmentation and transform out.")
    say("[1/6] Starting a scene and reading the images")
    from Demo.folder import OVERVIEW, SCENE, replaced_folder  # heavy: torch, Slicer's libraries

    output = arguments.output.resolve()
    try:
        with replaced_folder(output) as folder:
            session = run(folder, started)
    except (ValueError, OSError) as error:  # of the library: one sentence that says what to do
        say(f"The demonstration could not run. {error}")
        return 1
    for check in session.checks.made:
        say(f"  {'ok    ' if check.passed else 'FAILED'}  {check.name}: {check.value}  ({check.limit})")
    say(f"Written in {time.perf_counter() - started:.0f} s: {output}")
    say(HOW_TO_LOOK.format(scene=output / SCENE, overview=output / OVERVIEW))
    failed = session.checks.failed
    if failed:
        say(f"{len(failed)} of {len(session.checks.made)} checks FAILED: {'; '.join(each.name for each in failed)}.")
        return 1
    if arguments.screenshot:
        SCREENSHOT.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(output / OVERVIEW, SCREENSHOT)
        say(f"The overview is also in {SCREENSHOT}")
    say(f"All {len(session.checks.made)} checks passed.")
    return 0


def run(folder: Path, started: float):
    """The whole demonstration into a folder; returns the finished session."""
    from SlicerHost.host import start_host
    from SlicerHost.scene import start_scene

    start_host()
    start_scene()
    from Demo.folder import OVERVIEW, REPORT, check_files, check_scene, write_outputs, write_scene
    from Demo.images import average_brain
    from Demo.session import Session
    from GANSynthesis import GANSynthesisLogic

    session = Session(GANSynthesisLogic(), average_brain(), say)
    session.load()
    say("[2/6] Synthesizing a T2 from the T1")
    session.synthesize()
    say("[3/6] Segmenting the synthetic T2")
    session.segment()
    say("[4/6] Registering a displaced T2 to the T1")
    session.register()
    say("[5/6] Drawing the overview")
    from Demo.figure import draw_overview
    from Demo.picture import picture_of

    draw_overview(picture_of(session), folder / OVERVIEW)
    say("[6/6] Writing scene and outputs, and reading them again")
    writing = time.perf_counter()
    write_outputs(session, folder)
    check_files(session, folder)
    write_scene(session, folder)
    check_scene(session, folder)
    session.seconds["write"] = round(time.perf_counter() - writing, 2)
    session.seconds["total"] = round(time.perf_counter() - started, 2)
    (folder / REPORT).write_text(json.dumps(report(session), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return session


def report(session) -> dict:
    """What report.json holds."""
    from Demo.images import SOURCE
    from GANSynthesisLib.inference.report import NOTICE
    from GANSynthesisLib.training.cards import software_versions

    return {
        "passed": not session.checks.failed,
        "notice": NOTICE,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "images": SOURCE,
        "models": {
            name: {"sha256": model.sha256, "title": model.card.title, "licence": model.card.licence}
            for name, model in session.models.items()
        },
        **session.numbers,
        "checks": session.checks.report(),
        "seconds": session.seconds,
        "versions": software_versions(),
    }


def say(text: str) -> None:
    """One line of progress."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
