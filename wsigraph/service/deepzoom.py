"""Geometry of Deep Zoom tile pyramids.

Level 0 is one pixel. Each level doubles the size of the previous one, and the last level is the slide itself.
Neighbouring tiles share `overlap_px` pixels, so that interpolation shows no seams. Nothing here opens a file.

References
----------
Microsoft, "Deep Zoom File Format Overview": levels, overlap, and the XML that describes them.
"""

from __future__ import annotations

from dataclasses import dataclass

from wsigraph.errors import NotFound
from wsigraph.geometry import Box, Size

MAX_OUTLINE_LEVEL = 12
"""Coarsest zoom level for which region outlines are simplified: one screen pixel spans 2**12 level-0 pixels."""
_NAMESPACE = "http://schemas.microsoft.com/deepzoom/2008"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepZoom:
    """The tile pyramid of an image.

    Attributes
    ----------
    size : Size
        Size of the image in pixels.
    tile_px : int
        Side of a tile without its overlap, px.
    overlap_px : int
        Pixels that a tile shares with its neighbour on each side.
    """

    size: Size
    tile_px: int = 254
    overlap_px: int = 1

    @property
    def n_levels(self) -> int:
        """Number of levels, including the level of a single pixel."""
        return (max(self.size.height, self.size.width) - 1).bit_length() + 1

    def downsample(self, level: int) -> int:
        """Return the downsample of a level, a power of two.

        Raises
        ------
        NotFound
            If there is no such level.
        """
        if not 0 <= level < self.n_levels:
            raise NotFound(f"there is no level {level}; levels are 0 to {self.n_levels - 1}")
        return 1 << (self.n_levels - 1 - level)

    def level_size(self, level: int) -> Size:
        """Return the size of a level in pixels, rounded up.

        Raises
        ------
        NotFound
            If there is no such level.
        """
        step = self.downsample(level)
        return Size(-(-self.size.height // step), -(-self.size.width // step))

    def grid(self, level: int) -> tuple[int, int]:
        """Return the number of tile columns and rows of a level.

        Raises
        ------
        NotFound
            If there is no such level.
        """
        size = self.level_size(level)
        return -(-size.width // self.tile_px), -(-size.height // self.tile_px)

    def box(self, level: int, col: int, row: int) -> Box:
        """Return the box of a tile in pixels of its level, including the overlap.

        Parameters
        ----------
        level, col, row : int
            Deep Zoom level, column and row of the tile.

        Returns
        -------
        Box
            Clipped to the level.

        Raises
        ------
        NotFound
            If there is no such tile.
        """
        cols, rows = self.grid(level)
        if not (0 <= col < cols and 0 <= row < rows):
            raise NotFound(f"there is no tile {col}_{row} on level {level}; it has {cols} columns and {rows} rows")
        x0, y0 = col * self.tile_px, row * self.tile_px
        box = Box(
            y0=y0 - self.overlap_px,
            x0=x0 - self.overlap_px,
            y1=y0 + self.tile_px + self.overlap_px,
            x1=x0 + self.tile_px + self.overlap_px,
        )
        return box.clip(self.level_size(level))

    def xml(self, suffix: str = "jpeg") -> str:
        """Return the Deep Zoom XML descriptor. `suffix` is the file suffix of the tiles."""
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f'<Image xmlns="{_NAMESPACE}" Format="{suffix}" Overlap="{self.overlap_px}" TileSize="{self.tile_px}">'
            f'<Size Width="{self.size.width}" Height="{self.size.height}"/></Image>\n'
        )
