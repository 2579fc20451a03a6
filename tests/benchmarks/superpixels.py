"""Superpixels: quality at equal region count first, then the speed of the best settings.

Every method segments the same images into the same total number of regions, within 2 %: the number that this product
yields at the spacings of interest. scikit-image and OpenCV use their best settings out of a grid: best is the lowest
mean rank over boundary recall, undersegmentation error and achievable accuracy. Each set ends in a verdict on the goal.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from tests.benchmarks import truth
from tests.benchmarks.measure import Method, Times, compare
from tests.benchmarks.segmenters import (
    Labels,
    NamedSegmenter,
    count,
    matched,
    opencv_methods,
    our_method,
    skimage_methods,
)
from tests.benchmarks.table import Table
from tests.benchmarks.truth import Quality, Scene, boundary_quality, mean_quality

SPACINGS = {"glands": (33, 15), "nuclei": (30, 12), "made": (30, 15)}
"""Mean distance between regions in pixels of each set."""
GOAL = 15.0
"""Goal: Mpx per CPU-second, as a multiple of scikit-image at its best settings."""
BASELINE = "scikit-image SLIC"
COUNT_TOLERANCE = 0.02


@dataclass(frozen=True, slots=True)
class Result:
    """Result of one method on one set at one number of regions."""

    method: NamedSegmenter
    requests: list[float]
    n_regions: int
    quality: Quality


def scenes(small: bool = False) -> dict[str, list[Scene]]:
    """Return the available data sets by name; the made one if the real ones are absent."""
    sets = {} if small else {"glands": truth.glands(), "nuclei": truth.nuclei()}
    sets = {name: images for name, images in sets.items() if images}
    return sets or {"made": truth.made(2 if small else 6)}


def quality_of(methods: list[NamedSegmenter], images: list[Scene], spacing: int) -> list[Result]:
    """Return the result of every method at the region count of the first one."""
    areas = [scene.truth.size / spacing**2 for scene in images]
    pictures = [scene.rgb for scene in images]
    first = [methods[0].run(rgb, area) for rgb, area in zip(pictures, areas, strict=True)]
    wanted = [count(labels) for labels in first]
    others = [_result(method, *matched(method, pictures, wanted), images) for method in methods[1:]]
    return [_result(methods[0], areas, first, images), *others]


def _result(method: NamedSegmenter, requests: list[float], labels: list[Labels], images: list[Scene]) -> Result:
    quality = mean_quality(
        [boundary_quality(image_labels, scene.truth) for image_labels, scene in zip(labels, images, strict=True)]
    )
    return Result(method, requests, sum(count(image_labels) for image_labels in labels), quality)


def best(results: list[Result]) -> Result:
    """Return the result of the lowest mean rank over the three figures of merit."""
    merit = np.array([(-r.quality.boundary_recall, r.quality.undersegmentation, -r.quality.accuracy) for r in results])
    ranks = merit.argsort(axis=0).argsort(axis=0)
    return results[int(ranks.mean(axis=1).argmin())]


def quality_table(name: str, images: list[Scene], spacing: int) -> tuple[Table, dict[str, list[Result]]]:
    """Return the table of quality of one set at one spacing and the results of each family."""
    results = quality_of([our_method(), *skimage_methods(), *opencv_methods()], images, spacing)
    own = results[0]
    table = Table(
        f"Superpixels on {len(images)} images with {name} outlined, {own.n_regions} regions",
        ("method", "recall over ours", "error over ours", "boundary recall", "undersegmentation error",
         "achievable accuracy", "regions"),
    )  # fmt: skip
    families: dict[str, list[Result]] = {}
    for result in results:
        families.setdefault(result.method.family, []).append(result)
        quality = result.quality
        table.rows.append(
            (
                f"{result.method.family}, {result.method.settings}",
                _recall_over(result, own),
                _error_over(result, own),
                f"{quality.boundary_recall:.4f}",
                f"{quality.undersegmentation:.4f}",
                f"{quality.accuracy:.4f}",
                result.n_regions,
            )
        )
    chosen = {family: best(family_results) for family, family_results in families.items()}
    table.notes.append(
        "best settings by mean rank: " + "; ".join(f"{family}: {r.method.settings}" for family, r in chosen.items())
    )
    table.notes.extend(_verdicts(own, families))
    if "OpenCV SLIC" not in families:
        table.notes.append("OpenCV's extra modules are not installed here; its SLIC was left out")
    return table, families


def _verdicts(own: Result, families: dict[str, list[Result]]) -> list[str]:
    """Return which settings of each family are better than this product, as text."""
    lines = []
    for family, results in families.items():
        if results[0] is own:
            continue
        recall = [r.method.settings for r in results if r.quality.boundary_recall > own.quality.boundary_recall]
        error = [r.method.settings for r in results if r.quality.undersegmentation < own.quality.undersegmentation]
        both = [settings for settings in recall if settings in error]
        lines.append(
            f"{family}: better recall than ours at {_listed(recall)}; lower error at {_listed(error)}; both at "
            f"{_listed(both)}"
        )
    return lines


def _listed(settings: list[str]) -> str:
    return f"{len(settings)} settings ({'; '.join(settings)})" if settings else "none"


def speed_table(name: str, images: list[Scene], chosen: dict[str, Result], repeats: int) -> tuple[Table, float]:
    """Return the speed of the best settings of each family on part of a set, and scikit-image's ratio of CPU time."""
    part = range(0, len(images), max(1, len(images) // 4))
    area = sum(images[index].truth.size for index in part) / 1e6
    n_regions_per_image = chosen["wsigraph"].n_regions / len(images)

    def run(result: Result, _: object) -> None:
        for index in part:
            result.method.run(images[index].rgb, result.requests[index])

    times: dict[str, Times] = compare(
        {family: Method(partial(run, result)) for family, result in chosen.items()}, repeats
    )
    own = times["wsigraph"]
    table = Table(
        f"Superpixels, speed on {area:.1f} Mpx of the {name} set, about {n_regions_per_image:.0f} regions an image",
        ("method", "CPU over ours", "wall over ours", "Mpx per CPU-second", "Mpx per second"),
    )
    for family, time in times.items():
        label = f"{family}, {chosen[family].method.settings}"
        table.rows.append((label, time.cpu_over(own), time.over(own), area / time.cpu, area / time.wall))
    table.notes.append(
        f"medians of {repeats} rounds' ratios, in turns; ours on one thread from RGB to final labels: Lab, "
        "smoothing, clustering, connectivity"
    )
    return table, times[BASELINE].cpu_over(own)


def verdict(families: dict[str, list[Result]], ratio: float) -> str:
    """Return in one line whether the goal against scikit-image is met, and if not by which setting."""
    own, baselines = families["wsigraph"][0], families[BASELINE]
    best_baseline = best(baselines)
    ahead = [r for r in baselines if _recall_over(r, own) > 1 and _error_over(r, own) < 1]
    if best_baseline not in ahead and (_recall_over(best_baseline, own) > 1 or _error_over(best_baseline, own) < 1):
        ahead.append(best_baseline)
    uneven = [r for r in baselines if abs(r.n_regions / own.n_regions - 1) > COUNT_TOLERANCE]
    parts = (
        f"verdict: goal {'met' if ratio >= GOAL and not ahead else 'NOT met'}",
        f"{ratio:.1f} x the Mpx per CPU-second of {BASELINE} (goal {GOAL:g} x)",
        f"its best setting ({best_baseline.method.settings}) has {_recall_over(best_baseline, own):.3f} of our recall",
        f"{_error_over(best_baseline, own):.3f} of our error",
        f"ahead of ours: {_listed([r.method.settings for r in ahead])}",
        f"counts off by more than 2 %: {_listed([r.method.settings for r in uneven])}",
    )
    return "; ".join(parts)


def _recall_over(result: Result, own: Result) -> float:
    return result.quality.boundary_recall / own.quality.boundary_recall


def _error_over(result: Result, own: Result) -> float:
    return result.quality.undersegmentation / own.quality.undersegmentation


def benchmark(repeats: int) -> list[Table]:
    """Return the tables of quality and speed for every available data set."""
    tables = []
    for name, images in scenes().items():
        for spacing in SPACINGS[name]:
            table, families = quality_table(name, images, spacing)
            chosen = {family: best(results) for family, results in families.items()}
            speed, ratio = speed_table(name, images, chosen, repeats)
            speed.notes.append(verdict(families, ratio))
            tables += [table, speed]
    missing = [name for name in ("glands", "nuclei") if name not in scenes()]
    if missing and tables:
        tables[0].notes.append(f"images with {' and '.join(missing)} outlined are not available and were left out")
    return tables
