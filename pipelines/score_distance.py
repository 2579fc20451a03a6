"""Show how well the distance from the training slides separates slides a model was made for from others.

    python -m pipelines.score_distance --glas DIR [--monuseg DIR] [--oral DIR] [--slides DIR] [--tiles 12]

The training cohort is GlaS (colon, H&E): each of its 15 patients is left out of the scaler in turn, as in
cross-validation, and the images of the patient are measured by it. Other pictures are measured by all scalers and
averaged, as a model's members are: tiles of other organs, slides, the same images in other states, and what is no
section at all (`pipelines.drawn_refusals`, forced). Prints, for each group, the distance (median and range), its
percentile among the held-out images, and how many predictions a model trained on GlaS would withhold.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.drawn_refusals import draw_negatives
from pipelines.score_glas import MPP, read_images
from pipelines.score_refusals import GLAS_MPP, MONUSEG_MPP, ORAL_MPP, read_pixels, vary
from wsigraph import build_graph, coarsen, read, segment
from wsigraph.config import Config, PredictionConfig, load
from wsigraph.errors import NoTissue
from wsigraph.model.applicability import HELD_OUT_QUANTILE
from wsigraph.model.inputs import GraphInput, Scaler, graph_input

Picture = NDArray[np.uint8]
_T = TypeVar("_T")
VARIANTS = ("stain x 0.4", "yellowed", "blurred")


def fit(inputs: list[GraphInput], patient: NDArray[np.str_]) -> tuple[list[Scaler], NDArray[np.float64]]:
    """Return one scaler for each patient left out, and the distance of every held-out image."""
    scalers, distance = [], np.zeros(len(inputs))
    for name in np.unique(patient):
        held_out = patient == name
        scaler = Scaler.fit([graph for graph, out in zip(inputs, held_out, strict=True) if not out])
        for row in np.flatnonzero(held_out):
            distance[row] = scaler.standardise(inputs[row]).distance
        scalers.append(scaler)
    return scalers, distance


def pictures(options: argparse.Namespace) -> Iterator[tuple[str, Picture, float]]:
    """Yield group, pixels and pixel size of pictures outside the cohort."""
    images = sorted((options.glas / "images").glob("*.png"))
    for path in chosen(images, options.tiles):
        pixels, mpp = read_pixels(path, GLAS_MPP)
        for variant in VARIANTS:
            yield f"GlaS, {variant}", vary(pixels, mpp, variant), mpp
    if options.monuseg:
        tiles = set(options.monuseg.glob("*.png")) - set(options.monuseg.glob("*_nuclei.png"))
        for path in chosen(sorted(tiles), options.tiles):
            yield "MoNuSeg (other organs)", *read_pixels(path, MONUSEG_MPP)
    if options.oral:
        for path in chosen(sorted(options.oral.glob("*/*.jpg")), options.tiles):
            yield "oral tiles", *read_pixels(path, ORAL_MPP[path.stem.split("_")[1]])
    if options.slides:
        section = options.slides / "CMU-1-Small-Region.svs"
        yield "a slide (CMU-1)", *read_pixels(section, None)
        negatives = [one for one in draw_negatives(read_pixels(section, None)[0]) if one[2] == 1.0]
        for name, pixels, mpp in chosen(negatives, options.tiles):
            yield "no section, forced", pixels, mpp
            del name


def chosen(values: list[_T], n: int) -> list[_T]:
    """Return at most n values, evenly over all."""
    return [
        values[index] for index in np.unique(np.linspace(0, len(values) - 1, min(n, len(values))).round().astype(int))
    ]


def measure(pixels: Picture, mpp: float, settings: Config, scalers: list[Scaler]) -> float | None:
    """Return the distance of a picture; None where no tissue is found."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        Image.fromarray(pixels).save(path, compress_level=1)
        with read(path, mpp=mpp) as slide:
            try:
                graph = build_graph(slide, segment(slide, settings), settings)
            except NoTissue:
                return None
    raw = graph_input(coarsen(graph, settings.coarsening))
    return float(np.mean([scaler.standardise(raw).distance for scaler in scalers]))


def main() -> None:
    """Run the recipe."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--glas", type=Path, required=True)
    for name in ("monuseg", "oral", "slides"):
        parser.add_argument(f"--{name}", type=Path, default=None)
    parser.add_argument("--tiles", type=int, default=12, help="pictures of each group, evenly over all")
    options = parser.parse_args()
    settings = load([], ["slide.allow_non_he=true", "tissue.min_area_um2=1000"])
    regions, _, _, _ = read_images(options.glas, settings)
    inputs = [graph_input(example.graph) for example in regions]
    scalers, held_out = fit(inputs, np.array([example.patient for example in regions]))
    limit = PredictionConfig().max_distance_ratio * float(np.quantile(held_out, HELD_OUT_QUANTILE))
    distances: dict[str, list[float]] = defaultdict(list, {"GlaS, held out": held_out.tolist()})
    absent: dict[str, int] = defaultdict(int)
    for group, pixels, mpp in pictures(options):
        distance = measure(pixels, mpp, settings, scalers)
        if distance is None:
            absent[group] += 1
        else:
            distances[group].append(distance)
    print(f"{len(held_out)} held-out images at {MPP} um/px; a prediction is withheld beyond {limit:.2f}\n")
    print("| pictures | number | distance | percentile | withheld | no tissue |\n|---|---|---|---|---|---|")
    for group, values in distances.items():
        low, middle, high = np.quantile(values, [0, 0.5, 1])
        percentile = np.median([100 * (held_out < value).mean() for value in values])
        n_withheld = sum(value > limit for value in values)
        cells = f"{middle:.2f} ({low:.2f} to {high:.2f}) | {percentile:.0f} | {n_withheld} | {absent[group]}"
        print(f"| {group} | {len(values)} | {cells} |")


if __name__ == "__main__":
    main()
