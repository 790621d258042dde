"""The panel's tabs. Slicer-facing: these files import qt and slicer; nothing heavy is imported before it is needed."""
