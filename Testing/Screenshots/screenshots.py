"""Renders the panel in its important states, and looks for clipped texts.

    make screenshots     (or: python Testing/Screenshots/screenshots.py [--output FOLDER] [--only WORD]
                          [--overview FILE])

Every state of `states.STATES` is rendered as wide as Slicer's module panel and wide, in a light and a dark theme, to
build/screenshots/<state>-<width>-<theme>.png. Exit status 1: a text is clipped, or a state was not reached.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "Testing"), str(REPOSITORY / "GANSynthesis")]
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("OMP_NUM_THREADS", "2")
WIDTHS = (420, 800)  # px
SETTLED = 0.8  # seconds in which the panel looks at the inputs that a state has chosen


def main() -> int:
    """Render everything; 0 where every text is shown in full."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = REPOSITORY / "build" / "screenshots"
    parser.add_argument("--output", type=Path, default=folder, help="folder, emptied first")
    parser.add_argument("--only", default="", help="only states with this word in their names")
    parser.add_argument("--overview", type=Path, help="also join some of them into this picture")
    arguments = parser.parse_args()
    from PySide6 import QtCore

    from Screenshots.states import STATES

    QtCore.qInstallMessageHandler(_say)
    shutil.rmtree(arguments.output, ignore_errors=True)
    arguments.output.mkdir(parents=True)
    states = [state for state in STATES if arguments.only in state.name]
    with tempfile.TemporaryDirectory(prefix="GANSynthesis-screenshots-") as folder:
        problems = [problem for state in states for problem in render(state, Path(folder), arguments.output)]
    if arguments.overview:
        from Screenshots.overview import write_overview

        write_overview(arguments.output, arguments.overview)
    print(f"{len(list(arguments.output.iterdir()))} pictures in {arguments.output}; {len(problems)} texts clipped "
          "or states not reached.")  # fmt: skip
    return 1 if problems or not states else 0


def render(state, folder: Path, output: Path) -> list[str]:
    """Bring a new panel into a state and save its pictures; returns what is wrong with them."""
    from Screenshots.clipping import clipped
    from Screenshots.states import end_jobs
    from Screenshots.theme import THEMES, set_theme
    from SlicerHost import pythonqt
    from SlicerHost.host import handle_events, open_panel, start_host
    from SlicerHost.scene import start_scene

    # Not what the user has trained; what is trained here is there for the states of the same tab.
    os.environ["GANSYNTHESIS_MODELS"] = str(folder / "models" / state.name.split("-")[0])
    start_host()
    start_scene()
    pythonqt.slot_errors.clear()
    panel = open_panel(REPOSITORY / "GANSynthesis" / "GANSynthesis.py")
    native, problems = pythonqt.native(panel.frame), []
    panel.frame.show()
    try:
        state.reach(panel, folder)
        handle_events(SETTLED)
        if not state.refused:
            problems += [f"{state.name}: {error!r}" for error in pythonqt.slot_errors]
        for theme in THEMES:
            set_theme(theme)
            for width in WIDTHS:
                picture(native, width).save(str(output / f"{state.name}-{width}-{theme}.png"))
                problems += [f"{state.name} at {width} px, {theme}: {each}" for each in clipped(native, width)]
    except AssertionError as error:
        problems.append(f"{state.name} was not reached: {error}")
    finally:
        panel.close()
        end_jobs()
    print("\n".join([f"{state.name}: {state.shows}", *(f"  {problem}" for problem in problems)]), flush=True)
    return problems


def picture(native, width: int):
    """Picture of a widget that is so many pixels wide, and as high as it then has to be."""
    from SlicerHost.host import handle_events

    for _ in range(2):  # what the width does to the height is known only once it is laid out
        native.resize(width, max(native.sizeHint().height(), native.heightForWidth(width)))
        handle_events()
    return native.grab()


def _say(_kind, _context, text: str) -> None:
    """Qt's messages, without what the offscreen platform says of every window."""
    if "propagateSizeHints" not in text:
        print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
