"""Superpixels and their shared boundaries as a region adjacency graph."""
