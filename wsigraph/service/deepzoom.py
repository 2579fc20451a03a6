"""The pyramid of tiles that Deep Zoom viewers ask for.

Level 0 is one pixel; each level doubles the one before, and the last is the slide itself. Neighbouring tiles share
`overlap_px` pixels, so that a viewer that smooths shows no seams. Nothing here opens a file.

References
----------
Microsoft, "Deep Zoom File Format Overview": levels, overlap, and the XML that describes them.
"""

from __future__ import annotations

from dataclasses import dataclass

from wsigraph.errors import NotFound
from wsigraph.geometry import Box, Size

_NAMESPACE = "http://schemas.microsoft.com/deepzoom/2008"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepZoom:
    """A pyramid over a picture.

    Attributes
    ----------
    size : Size
        The picture, px.
    tile_px : int
        Side of a tile without its overlap.
    overlap_px : int
        Pixels that neighbouring tiles share on each side.
    """

    size: Size
    tile_px: int = 254
    overlap_px: int = 1

    @property
    def n_levels(self) -> int:
        """Levels of the pyramid, the one of a single pixel included."""
        return (max(self.size.height, self.size.width) - 1).bit_length() + 1

    def downsample(self, level: int) -> int:
        """Return how many pixels of the picture one pixel of a level spans: a power of two.

        Raises
        ------
        NotFound
            If there is no such level.
        """
        if not 0 <= level < self.n_levels:
            raise NotFound(f"level {level} is not there; levels are 0 to {self.n_levels - 1}")
        return 1 << (self.n_levels - 1 - level)

    def level_size(self, level: int) -> Size:
        """Return a level's pixels; those that the far sides cut count.

        Raises
        ------
        NotFound
            If there is no such level.
        """
        step = self.downsample(level)
        return Size(-(-self.size.height // step), -(-self.size.width // step))

    def grid(self, level: int) -> tuple[int, int]:
        """Return a level's columns and rows of tiles.

        Raises
        ------
        NotFound
            If there is no such level.
        """
        size = self.level_size(level)
        return -(-size.width // self.tile_px), -(-size.height // self.tile_px)

    def box(self, level: int, col: int, row: int) -> Box:
        """Return the pixels of a tile on its level, overlap included.

        Parameters
        ----------
        level, col, row : int
            As in the tile's address.

        Returns
        -------
        Box
            Within the level.

        Raises
        ------
        NotFound
            If there is no such tile.
        """
        cols, rows = self.grid(level)
        if not (0 <= col < cols and 0 <= row < rows):
            raise NotFound(f"tile {col}_{row} of level {level} is not there; it has {cols} columns and {rows} rows")
        x0, y0 = col * self.tile_px, row * self.tile_px
        whole = Box(
            y0=y0 - self.overlap_px,
            x0=x0 - self.overlap_px,
            y1=y0 + self.tile_px + self.overlap_px,
            x1=x0 + self.tile_px + self.overlap_px,
        )
        return whole.clip(self.level_size(level))

    def xml(self, suffix: str = "jpeg") -> str:
        """Return the description that viewers read; `suffix` is that of the tiles."""
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f'<Image xmlns="{_NAMESPACE}" Format="{suffix}" Overlap="{self.overlap_px}" TileSize="{self.tile_px}">'
            f'<Size Width="{self.size.width}" Height="{self.size.height}"/></Image>\n'
        )
