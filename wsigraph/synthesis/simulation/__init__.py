"""Tissue that never was: layouts, painted tiles and simulated graphs, always marked synthetic."""
