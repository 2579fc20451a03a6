"""Draw the nuclei that the network finds in a part of a slide.

python -m pipelines.draw_nuclei SLIDE --box X,Y,W,H --out FILE [--weights FILE]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from wsigraph import read
from wsigraph.exchange.nucleus_files import COLOURS
from wsigraph.geometry import Box
from wsigraph.graph.feature.network_detector import NetworkDetector
from wsigraph.graph.feature.nucleus_table import find_nuclei
from wsigraph.graph.tissue.mask import find_tissue

ZOOM = 2
"""Pixels of the picture for one of level 0."""
_UNKNOWN = (250, 210, 60)


def main() -> None:
    """Draw the part beside the same part with outlines."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("slide", type=Path)
    parser.add_argument("--box", required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    x, y, width, height = (int(part) for part in options.box.split(","))
    part = Box(y0=y, x0=x, y1=y + height, x1=x + width)
    detector = NetworkDetector(options.weights)
    with read(options.slide) as slide:
        table = find_nuclei(slide, find_tissue(slide), detector, box=part, least_type=detector.least_type)
        pixels = Image.fromarray(slide.read(part)).resize((width * ZOOM, height * ZOOM), Image.Resampling.BICUBIC)
        mpp = slide.info.mpp
    drawn = pixels.copy()
    pen = ImageDraw.Draw(drawn)
    for row, name in enumerate(table.type_names()):
        ring = (table.outline_um(row) / mpp - (x, y)) * ZOOM
        points = [(float(px), float(py)) for px, py in ring]
        pen.line([*points, points[0]], fill=COLOURS.get(name, _UNKNOWN), width=2)
    Image.fromarray(np.concatenate([np.asarray(pixels), np.asarray(drawn)], axis=1)).save(options.out, quality=85)
    print(f"{table.n_nuclei} nuclei drawn in {options.out}")


if __name__ == "__main__":
    main()
