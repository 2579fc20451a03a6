"""Polygons of regions, without gaps or overlaps between neighbours."""
