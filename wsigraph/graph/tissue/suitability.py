"""Whether a slide is an H&E section at all, decided before any number is made of it.

Three signs are looked for, each with a name of its own. Channels named after fluorescent dyes or markers are no red,
green and blue. On a dark ground light is emitted, not absorbed: in bright field the glass is bright, and where there
is no glass, dark tissue is purple. What is stained but has no texture at the scale of nuclei, is of a single pigment,
or of colours that the two stains do not mix to, is pen or print: hematoxylin and eosin together spread over a plane of
optical density, one pigment over a line. This is judged window by window, and a slide passes when a few windows look
like tissue, so that pen beside tissue does no harm. Limits were set with a margin on real sections, also pale, dark,
yellowed and blurred (the page of this stage shows them). Other stains in bright field are not told from H&E here, and
streaks of purple marker that has dried pass for tissue.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsigraph.config import SlideConfig
from wsigraph.errors import NotHE
from wsigraph.geometry import Box
from wsigraph.graph.tissue.density import DENSITY, OD_UNIT
from wsigraph.graph.tissue.window import tissue_window
from wsigraph.records import Prediction, TissueMap
from wsigraph.slide.map_boxes import Progress, map_chunks
from wsigraph.slide.reader import Slide

MARK = "NOT AN H&E SECTION, forced"
"""What every output of a slide says that is none."""

_DYES = re.compile(
    r"dapi|hoechst|fitc|tritc|rhodamine|draq|sytox|syto ?\d|\be?gfp|\brfp|\byfp|\bcfp|mcherry|texas ?red"
    r"|\bcy[ -]?\d|alexa|\baf ?-?\d{3}|atto ?\d|opal ?\d{3}|qdot|autofluor|\bpe\b|\bapc\b|\bcd ?-?\d+|cytokeratin"
    r"|pan ?-?ck|\bki-?67|fox ?p3|vimentin|phalloidin|\bcollagen|\bsma\b|\bpd-?l?1\b|\bem ?\d{3}\b",
    re.IGNORECASE,
)
_DARK_LEVEL = 60
"""Brightest channel below which a pixel is dark; glass is far above, and so is stroma, also in thick sections."""
_FILL_LEVEL = 3
"""Brightest channel up to which a pixel is taken for what the scanner did not scan."""
_PURPLE_STEP = 6
"""Levels by which green lies below red and blue in a pixel that absorbs as H&E does."""
_TINTED_LEVEL = 100
_GLASS_LEVEL = 70
"""Darkest channel of the brightest pixels; in bright field light comes through somewhere."""
_GLASS_PERCENTILE = 98.0
_WINDOW_PX = 64
_WINDOWS = 64
_FULL, _FEW = 0.6, 8
"""Least part of a window that is tissue away from its rim; where few windows have so much, the few with the most."""
_RIM_PX = 2
_FINE_PX, _NUCLEUS_UM = 1.0, 6.0
_LEAST_TEXTURE = 0.015
"""Least contrast of a window at the scale of nuclei over its mean optical density; blurred tissue has 0.019."""
_LEAST_SECOND_STAIN = 0.013
"""Least spread of a window's colours across their main direction, as a part of that along it: wet pen has 0.011."""
_STRONG_TEXTURE = 0.08
"""Contrast from which a window of one pigment passes too, as pale tissue of nuclei alone; wet pen has 0.06."""
_RED_RATIO, _BLUE_RATIO = (0.2, 1.45), 1.0
"""Range of red over green density of the two stains, and the most of blue over green; red pen has 0.08 of red,
blue pen 1.55, and a real section photographed too blue 1.22, blurred 1.39."""


def require_he(slide_id: str, reason: str, config: SlideConfig) -> str:
    """Refuse a slide that is no H&E section, unless the settings let it pass.

    Parameters
    ----------
    slide_id : str
        Name of the slide.
    reason : str
        Why it is no H&E section; empty if nothing was found.
    config : SlideConfig
        Whether such slides pass.

    Returns
    -------
    str
        `reason`.

    Raises
    ------
    NotHE
        If there is a reason and ``slide.allow_non_he`` is off.
    """
    if reason and not config.allow_non_he:
        raise NotHE(
            f"slide {slide_id!r} is no H&E section: {reason}; expected tissue in hematoxylin and eosin on bright "
            "glass; to continue with marked outputs, set slide.allow_non_he=true (--force of predict, explain, graph "
            "and run)"
        )
    return reason


def mark(reason: str) -> str:
    """Return the warning that stands before all others of a slide that is no H&E section."""
    return f"{MARK}: {reason}; no number of this slide can be relied on"


def find_marks(warnings: Sequence[str]) -> list[str]:
    """Return the marks among the warnings of a slide; empty unless it is no H&E section and was forced."""
    return [text for text in warnings if text.startswith(MARK)]


def mark_slide(slide: Slide, tissue: TissueMap, config: SlideConfig) -> str:
    """Refuse or mark a slide whose map says that it is no H&E section, also where an earlier run let it pass.

    Parameters
    ----------
    slide : Slide
        The slide; the mark becomes the first of its warnings.
    tissue : TissueMap
        Its map.
    config : SlideConfig
        Whether such slides pass.

    Returns
    -------
    str
        The mark; empty for an H&E section.

    Raises
    ------
    NotHE
        If it does not pass.
    """
    if not require_he(slide.info.slide_id, tissue.refusal, config):
        return ""
    slide.mark(mark(tissue.refusal))
    return mark(tissue.refusal)


def mark_prediction(prediction: Prediction, warning: str) -> Prediction:
    """Return a prediction whose notice and warnings begin with a mark; the same one where it is empty or there."""
    if not warning or warning in prediction.warnings:
        return prediction
    said = (warning, *prediction.warnings)
    return replace(prediction, notice=f"{MARK}. {prediction.notice}", warnings=said)


def judge_channels(names: Sequence[str]) -> str:
    """Return why channels of these names are no red, green and blue; empty where they may be."""
    if any(_DYES.search(name) for name in names):
        return f"fluorescence (its channels are named {', '.join(names)})"
    return ""


def judge_ground(rgb: NDArray[np.uint8], config: SlideConfig) -> str:
    """Return why the low-power pixels were not lit from behind; empty where they were.

    Parameters
    ----------
    rgb : uint8 (h, w, 3)
        The low-power grid.
    config : SlideConfig
        Largest dark share of a slide in bright field.

    Returns
    -------
    str
        The reason, with the share that is dark.
    """
    brightest = rgb.max(axis=2)
    lit = brightest > _FILL_LEVEL
    n_lit = int(np.count_nonzero(lit))
    if n_lit == 0:
        return "dark ground (every pixel is black)"
    dark = lit & (brightest < _DARK_LEVEL)
    dark_fraction = np.count_nonzero(dark) / n_lit
    # a dense section without glass may be as dark, but then it is purple
    if dark_fraction > config.max_dark_fraction and _purple_fraction(rgb, dark) < 0.5:
        return f"dark ground ({100 * dark_fraction:.0f} % of its pixels are dark and colourless, as in fluorescence)"
    glass = np.percentile(rgb.min(axis=2)[lit], _GLASS_PERCENTILE)
    if glass < _GLASS_LEVEL and np.median(brightest[lit]) < _TINTED_LEVEL and _purple_fraction(rgb, lit) < 0.25:
        return "dark ground (half of it is dim, and not in the colours of hematoxylin and eosin, as in fluorescence)"
    return ""


def judge_texture(
    slide: Slide,
    rgb: NDArray[np.uint8],
    tissue: NDArray[np.bool_],
    config: SlideConfig,
    *,
    grid_mpp: float,
    working_mpp: float,
    progress: Progress | None = None,
) -> str:
    """Return why what is stained is no tissue in two stains; empty where it may be.

    Parameters
    ----------
    slide : Slide
        The slide.
    rgb : uint8 (h, w, 3)
        The low-power grid.
    tissue : bool (h, w)
        What is stained on it.
    config : SlideConfig
        Least share of windows that look like tissue.
    grid_mpp, working_mpp : float
        Spacing of the grid and pixel size of the windows, um; a slide's own pixels are not enlarged.
    progress : callable, optional
        Told (stage, done, total).

    Returns
    -------
    str
        The reason, with the share of windows that look like tissue.

    Raises
    ------
    SlideError
        If the slide cannot be read.

    Notes
    -----
    At most 64 windows of 64 pixels are read.
    """
    mpp = max(working_mpp, slide.info.mpp)
    inner = ndimage.binary_erosion(tissue, np.ones((3, 3), bool), _rim(mpp, grid_mpp), border_value=1)
    if not inner.any():
        return "no tissue (what is stained is thin rims alone, as around pen)"
    windows = _windows(inner, slide, grid_mpp, mpp)
    if not windows:
        # it lies in the remainder of a window at the far sides: nothing is known against it
        return ""
    glass = np.percentile(rgb.reshape(-1, 3), _GLASS_PERCENTILE, axis=0).astype(np.int64)
    rows = map_chunks(
        _measure, windows, slide, inner, grid_mpp, mpp, DENSITY[glass] / OD_UNIT, stage="texture", progress=progress
    )
    texture, second, red, blue = np.array(rows).T
    signs = {
        "the colours of hematoxylin and eosin": (red >= _RED_RATIO[0]) & (red <= _RED_RATIO[1]) & (blue <= _BLUE_RATIO),
        "texture at the scale of nuclei": texture >= _LEAST_TEXTURE,
        "a second stain": (second >= _LEAST_SECOND_STAIN) | (texture >= _STRONG_TEXTURE),
    }
    if config.stain != "h&e":  # its colours are what the user says, and a negative stain has one pigment
        signs = {name: sign for name, sign in signs.items() if name.startswith("texture")}
    like_tissue = np.logical_and.reduce(list(signs.values()))
    if like_tissue.mean() >= config.min_tissue_windows:
        return ""
    lacking = min(signs, key=lambda sign: int(np.count_nonzero(signs[sign])))
    n_unlike = np.count_nonzero(~like_tissue)
    return f"no tissue ({n_unlike} of {len(windows)} stained windows look like pen; most lack {lacking})"


def _purple_fraction(rgb: NDArray[np.uint8], where: NDArray[np.bool_]) -> float:
    """Return which part of some pixels absorbs green more than red and blue."""
    red, green, blue = (rgb[..., channel][where].astype(np.int16) for channel in range(3))
    return float((np.minimum(red, blue) >= green + _PURPLE_STEP).mean())


def _rim(mpp: float, grid_mpp: float) -> int:
    """Return how many grid pixels from its rim tissue is left out, so that an edge is not taken for texture."""
    return max(_RIM_PX, round(_RIM_PX * mpp / grid_mpp))


def _windows(inner: NDArray[np.bool_], slide: Slide, grid_mpp: float, mpp: float) -> list[Box]:
    """Return windows well inside the tissue, evenly over all there are in raster order."""
    size = slide.size(mpp)
    side = min(_WINDOW_PX, size.height, size.width)
    step = side * mpp / grid_mpp
    total = np.zeros((inner.shape[0] + 1, inner.shape[1] + 1), np.int64)
    total[1:, 1:] = inner.cumsum(axis=0, dtype=np.int64).cumsum(axis=1)
    n_rows, n_columns = max(1, size.height // side), max(1, size.width // side)
    rows, columns = (
        np.minimum(np.round(np.arange(n + 1) * step).astype(np.int64), length)
        for n, length in ((n_rows, inner.shape[0]), (n_columns, inner.shape[1]))
    )
    held = (
        total[np.ix_(rows[1:], columns[1:])]
        - total[np.ix_(rows[:-1], columns[1:])]
        - total[np.ix_(rows[1:], columns[:-1])]
        + total[np.ix_(rows[:-1], columns[:-1])]
    )
    area = np.diff(rows)[:, None] * np.diff(columns)[None, :]
    full = np.flatnonzero(held >= _FULL * np.maximum(area, 1))
    if len(full) < _FEW:
        order = np.argsort(-held.ravel(), kind="stable")[:_FEW]
        full = np.sort(order[held.ravel()[order] > 0])
    n = min(len(full), _WINDOWS)
    chosen = full[(2 * np.arange(n) + 1) * len(full) // (2 * n)] if n else full
    corners = [divmod(int(index), n_columns) for index in chosen]
    return [Box(y0=y * side, x0=x * side, y1=(y + 1) * side, x1=(x + 1) * side) for y, x in corners]


def _measure(
    box: Box, slide: Slide, inner: NDArray[np.bool_], grid_mpp: float, mpp: float, glass: NDArray[np.float64]
) -> tuple[float, float, float, float]:
    """Return a window's contrast at the scale of nuclei, its spread of colour, and red and blue over green density."""
    density = DENSITY[slide.read(box, mpp)] / OD_UNIT - glass  # (h, w, 3)
    inside = tissue_window(inner, grid_mpp, box, mpp)
    smooth = ndimage.gaussian_filter(density, (_FINE_PX, _FINE_PX, 0))
    coarse = ndimage.gaussian_filter(density.mean(axis=2), max(2 * _FINE_PX, _NUCLEUS_UM / mpp))
    contrast = (smooth.mean(axis=2) - coarse)[inside]
    colours = smooth[inside]  # (n, 3)
    if not len(colours):
        return 0.0, 0.0, 0.0, 0.0
    mean = max(float(colours.mean()), 1.0 / OD_UNIT)
    spread = np.sqrt(np.maximum(np.linalg.eigvalsh(colours.T @ colours / len(colours)), 0.0))
    red, green, blue = np.maximum(colours.mean(axis=0), 0.0)
    return (
        float(np.sqrt((contrast**2).mean()) / mean),
        float(spread[1] / max(spread[2], 1e-9)),
        float(red / max(green, 1e-9)),
        float(blue / max(green, 1e-9)),
    )
