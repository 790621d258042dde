"""A small host that runs a Slicer scripted module outside Slicer: real MRML (slicer-core), Qt through PySide6.

It is as strict as Slicer: what the recording of Slicer's Python names (`slicer_api.json`) does not have raises
`AttributeError` here too. Start it with `host.start_host()`; nothing of it is installed with the extension.
"""
