"""The demonstration, `make demo`: the shipped models in a scene, on images that come with Python packages."""
