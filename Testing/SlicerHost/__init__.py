"""A test double of Slicer: runs a scripted module without it, on real MRML (slicer-core) and Qt through PySide6.

It is as strict as Slicer: what the recording of Slicer's Python names (`slicer_api.json`) does not have raises
`AttributeError` here too. Start it with `host.start_host()`; nothing of it is installed with the extension.
"""

from types import SimpleNamespace

import slicer

slicer.modules = SimpleNamespace()  # by their names in lower case; slicer-core has none
