"""Pictures of the page: the slide, maps laid over it, and crops of single regions at high power.

Maps are small palette images with transparency. Attributions are shown per unit of area, in vermilion if they raise the
output and in blue if they lower it. Readers with colour vision deficiency can distinguish the two, also on pink
tissue. Artefacts are hatched, so that they do not depend on colour alone.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_dilation

from wsigraph.explanation.structures import colour_scale
from wsigraph.geometry import Box, px_to_um, um_to_px, um_to_px_exact
from wsigraph.outline.label_grid import LabelGrid
from wsigraph.outline.outline import Outlines
from wsigraph.records import TissueMap
from wsigraph.report.picture import scale_bar_um
from wsigraph.report.view import View, cut_view
from wsigraph.slide.reader import Slide

RAISES, LOWERS = (213, 94, 0), (0, 90, 200)
"""8-bit (R, G, B) of attributions above and below 0."""
_LEVELS = 15
_MAX_ALPHA = 165
_LINE = (10, 10, 30)
_ARTEFACT = (20, 20, 20)
_DARK_RAISES, _DARK_LOWERS = (150, 50, 0), (0, 50, 130)
_LINE_PX = 1
_CROP_PX = 360
_MARGIN = 1.35


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An encoded picture.

    Attributes
    ----------
    address : str
        ``data:`` address that contains the picture.
    width, height : int
        Pixels.
    """

    address: str
    width: int
    height: int


def photograph(pixels: NDArray[np.uint8], *, quality: int = 82) -> Picture:
    """Return pixels as JPEG; uint8 (h, w, 3)."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return _picture(stream.getvalue(), "jpeg", pixels.shape)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AttributionLayer:
    """Attributions by area as colours.

    Attributes
    ----------
    index : uint8 (h, w)
        Row of `colours` under each pixel.
    colours : uint8 (n, 4)
        Red, green, blue and opacity.
    most : float
        Attribution per unit of area that has full colour; larger values have the same colour.
    """

    index: NDArray[np.uint8]
    colours: NDArray[np.uint8]
    most: float

    def picture(self) -> Picture:
        """Return the layer as a palette image."""
        return _palette(self.index, [tuple(row) for row in self.colours[:, :3].tolist()], self.colours[:, 3])


def attribution_layer(view: View, node: NDArray[np.float64], area: NDArray[np.float64]) -> AttributionLayer:
    """Return attributions by area as colours over a view; see `attribution_colours`."""
    return attribution_colours(view.regions, node, area)


def attribution_colours(
    regions: NDArray[np.int32], node: NDArray[np.float64], area: NDArray[np.float64]
) -> AttributionLayer:
    """Return attributions by area as colours.

    Parameters
    ----------
    regions : int32 (h, w)
        Coarse node plus one under each pixel, 0 where there is no tissue.
    node : float64 (C,)
        Attribution of every region.
    area : float64 (C,)
        Area of every region; one of 0, which is mostly white, has no colour.

    Returns
    -------
    AttributionLayer
        Transparent where the attribution is 0. Full colour is that of `wsigraph.explanation.structures.colour_scale`,
        and lets the tissue through.
    """
    density = np.divide(node, area, out=np.zeros_like(node), where=area > 0)
    most = colour_scale(node, area)
    level = np.rint(np.clip(density / most, -1, 1) * _LEVELS).astype(np.int64) + _LEVELS + 1
    index = np.concatenate([[0], level])[regions].astype(np.uint8)
    strength = np.abs(np.arange(-_LEVELS, _LEVELS + 1)) / _LEVELS
    alpha = np.concatenate([[0], np.rint(_MAX_ALPHA * strength**0.7)]).astype(np.uint8)
    colours = [(0, 0, 0)] + [LOWERS if level < 0 else RAISES for level in range(-_LEVELS, _LEVELS + 1)]
    return AttributionLayer(
        index=index, colours=np.concatenate([np.array(colours, np.uint8), alpha[:, None]], axis=1), most=most
    )


def region_lines(view: View) -> Picture:
    """Return the borders between regions."""
    regions = view.regions
    border = np.zeros(regions.shape, np.bool_)
    border[:, 1:] |= regions[:, 1:] != regions[:, :-1]
    border[1:] |= regions[1:] != regions[:-1]
    return _palette(border.astype(np.uint8), [(0, 0, 0), _LINE], np.array([0, 230], np.uint8))


def structure_lines(view: View, structure: NDArray[np.int64], node: NDArray[np.float64]) -> Picture:
    """Return the outlines of structures, in the colour of their sign with a white rim.

    Parameters
    ----------
    view : View
        The whole slide.
    structure : int64 (C,)
        Structure of every region; -1 for a region of none.
    node : float64 (C,)
        Attribution of every region.

    Returns
    -------
    Picture
        Transparent but for the lines.
    """
    shown = np.concatenate([[-1], structure])[view.regions]
    sign = np.concatenate([[0.0], node])[view.regions]
    border = np.zeros(shown.shape, np.bool_)
    border[:, 1:] |= shown[:, 1:] != shown[:, :-1]
    border[1:] |= shown[1:] != shown[:-1]
    line = binary_dilation(border, iterations=_LINE_PX)
    rim = binary_dilation(line, iterations=1)
    raises = binary_dilation((shown >= 0) & (sign > 0), iterations=2 * _LINE_PX + 1)
    index = np.where(line, np.where(raises, 2, 3), np.where(rim, 1, 0)).astype(np.uint8)
    return _palette(
        index, [(0, 0, 0), (255, 255, 255), _DARK_RAISES, _DARK_LOWERS], np.array([0, 220, 255, 255], np.uint8)
    )


def artefact_map(view: View, tissue: TissueMap, level0_mpp: float) -> Picture | None:
    """Return the hatched artefacts; None if there are none."""
    height, width = view.regions.shape
    step = um_to_px_exact(tissue.mpp, level0_mpp)
    y, x = (
        np.minimum(((low + (np.arange(n) + 0.5) * (high - low) / n) / step).astype(np.int64), limit - 1)
        for low, high, n, limit in (
            (view.box.y0, view.box.y1, height, tissue.artefact.shape[0]),
            (view.box.x0, view.box.x1, width, tissue.artefact.shape[1]),
        )
    )
    is_artefact = tissue.artefact[y[:, None], x] > 0
    if not is_artefact.any():
        return None
    stripe = (np.arange(height)[:, None] + np.arange(width)) % 8 < 3
    index = np.where(is_artefact, np.where(stripe, 2, 1), 0).astype(np.uint8)
    return _palette(index, [(0, 0, 0), (255, 255, 255), _ARTEFACT], np.array([0, 130, 230], np.uint8))


def crop(slide: Slide, grid: LabelGrid, outlines: Outlines, node: int) -> tuple[Picture, str]:
    """Return a region at high power, with pale surroundings and a scale bar.

    Parameters
    ----------
    slide : Slide
        The slide.
    grid : LabelGrid
        Label grid of the regions.
    outlines : Outlines
        Their polygons.
    node : int
        Number of the region.

    Returns
    -------
    picture : Picture
        The whole region, outlined.
    bar : str
        Length of the scale bar.
    """
    points = np.concatenate([ring for polygon in outlines.polygons(node) for ring in polygon])
    low, high = points.min(axis=0), points.max(axis=0)
    side = max(float((high - low).max()) * _MARGIN, um_to_px(60.0, slide.info.mpp))
    centre = (low + high) / 2
    size = slide.info.levels[0].size
    box = Box(
        y0=round(centre[1] - side / 2),
        x0=round(centre[0] - side / 2),
        y1=round(centre[1] + side / 2),
        x1=round(centre[0] + side / 2),
    ).clip(size)
    view = cut_view(slide, grid, outlines, box, _CROP_PX)
    inside = view.regions == node + 1
    pixels = view.pixels.copy()
    pixels[~inside] = (0.45 * pixels[~inside] + 0.55 * 255).astype(np.uint8)
    edge = np.zeros(inside.shape, np.bool_)
    edge[:, 1:] |= inside[:, 1:] != inside[:, :-1]
    edge[1:] |= inside[1:] != inside[:-1]
    thick = edge.copy()
    thick[:, :-1] |= edge[:, 1:]
    thick[:-1] |= edge[1:]
    pixels[thick] = _LINE
    bar = _draw_scale_bar(pixels, px_to_um(1.0, slide.info.mpp) * view.box.width)
    return photograph(pixels, quality=80), bar


def _draw_scale_bar(pixels: NDArray[np.uint8], width_um: float) -> str:
    """Draw a scale bar into the lower left corner of a picture of a width, and return its length as text."""
    height, width = pixels.shape[:2]
    length_um = scale_bar_um(width_um)
    length = round(length_um / width_um * width)
    y, x = height - 16, 12
    pixels[y - 3 : y + 9, x - 3 : x + length + 3] = 255
    pixels[y : y + 6, x : x + length] = 0
    return f"{length_um / 1000:g} mm" if length_um >= 1000 else f"{length_um:g} µm"


def _palette(index: NDArray[np.uint8], colours: list[tuple[int, ...]], alpha: NDArray[np.uint8]) -> Picture:
    image = Image.frombytes("P", index.shape[::-1], index.tobytes())
    image.putpalette([channel for colour in colours for channel in colour])
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True, transparency=bytes(alpha))
    return _picture(stream.getvalue(), "png", index.shape)


def _picture(content: bytes, kind: str, shape: tuple[int, ...]) -> Picture:
    encoded = base64.b64encode(content).decode()
    return Picture(address=f"data:image/{kind};base64,{encoded}", width=shape[1], height=shape[0])
