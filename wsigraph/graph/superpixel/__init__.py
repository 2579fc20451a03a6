"""Tissue cut into connected superpixels that follow its boundaries."""
