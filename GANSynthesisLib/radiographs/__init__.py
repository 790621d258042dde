"""Radiographs from CT: digitally reconstructed radiographs (DRRs), labels as they are seen on them, training cases."""
