# Slicer writes <extension>Config.cmake here, for extensions that depend on this one.
