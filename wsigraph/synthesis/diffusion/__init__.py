"""Tissue painted from a graph by a diffusion model: an image, its mask and the very graph that asked for it."""
