"""Draw the pictures of the README and paste what its first command prints: ``python -m pipelines.draw_readme``.

The real slide in the repository goes all the way: slide, superpixels, coarse graph, attribution, survival curve. The
cohort's picture needs the small cohort of the notebooks (``python -m pipelines.make_notebook_cohort``) and is left out
where that is not there. To be run again whenever the shipped model or its embedding changes.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from skimage.segmentation import find_boundaries

import wsigraph
from wsigraph import cohort, figures, store
from wsigraph.config import Config
from wsigraph.explanation.request import ExplanationRequest
from wsigraph.figures.axes import COLOURS
from wsigraph.geometry import Box
from wsigraph.run.steps import SlideResult, run_slide

SLIDE = Path("tests/data/CMU-1-Small-Region.svs")
_DPI = 110
_INK = "#1b1b1b"


def main(arguments: list[str] | None = None) -> int:
    """Draw both pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"), help="folder of the pictures")
    parser.add_argument(
        "--model", type=Path, default=Path("notebooks/made/model"), help="model of the cohort's picture"
    )
    parser.add_argument("--readme", type=Path, default=Path("README.md"), help="left as it is where it is not there")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    pyplot.switch_backend("Agg")
    with tempfile.TemporaryDirectory() as folder:
        result = run_slide(str(SLIDE), folder, Config(), explain=ExplanationRequest(target="risk"))
        draw_way(result, options.out / "way.jpg")
        if options.readme.is_file():
            paste_printed(Path(folder) / "printed", options.readme)
    if (options.model / "held_out.json").is_file():
        draw_cohort(options.model, options.out / "cohort.png")
    return 0


def paste_printed(folder: Path, readme: Path) -> None:
    """Put what ``wsigraph predict`` prints of the slide into the README's only block of plain text.

    Parameters
    ----------
    folder : Path
        An output directory that is not there yet.
    readme : Path
        Changed in place.
    """
    command = [sys.executable, "-m", "wsigraph", "predict", str(SLIDE), "--out", str(folder)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603 - our own command
    shown: dict[str, str] = {}
    for line in printed.replace(str(folder), "wsigraph-out").splitlines():
        # a slide unlike the training slides has a long reason, and of the files two say enough
        short = re.sub(r"\d+ of \d+ mean features.*", "...", re.sub(r"(tissue\.zarr), .*", r"\1, ...", line))
        if line:
            shown.setdefault(line[:17], short)
    block = "```text\n" + "\n".join(shown.values()) + "\n```"
    text = readme.read_text(encoding="utf-8")
    readme.write_text(re.sub(r"^```text\n.*?^```$", lambda _: block, text, flags=re.M | re.S), encoding="utf-8")


def draw_way(result: SlideResult, path: Path) -> None:
    """Draw one slide's way: five panels, from pixels to a survival curve.

    Parameters
    ----------
    result : SlideResult
        Of a slide that was explained.
    path : Path
        JPEG to write.
    """
    labels = store.load_labels(result.directory / "superpixels.zarr")
    numbers = np.asarray(labels.labels)
    slide = wsigraph.read(SLIDE)
    pixels = slide.read(Box(y0=0, x0=0, y1=numbers.shape[0], x1=numbers.shape[1]), labels.mpp)
    coarse = store.load_coarse_graph(result.directory / "coarse.safetensors")
    explanation = store.load_explanation(result.directory / "explanation.safetensors")
    figure, axes = pyplot.subplots(1, 5, figsize=(15, 4.3), layout="constrained")
    titles = ("slide", "superpixels", "coarse graph", "attribution to risk (red raises it)", "survival")
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title)
    for ax in axes[:4]:
        ax.set_axis_off()
        ax.imshow(pixels, interpolation="antialiased")
    outlined = pixels.copy()
    outlined[find_boundaries(numbers)] = (20, 20, 20)
    axes[1].imshow(outlined)
    _graph(axes[2], coarse.graph.centroid_um / labels.mpp, coarse.graph.edge_index)
    _attribution(axes[3], numbers, coarse.assignment, explanation.node)
    _survival(axes[4], result)
    figure.savefig(path, dpi=_DPI, pil_kwargs={"quality": 82})


def _graph(ax: Axes, at: np.ndarray, edges: np.ndarray) -> None:
    ax.add_collection(LineCollection(list(at[edges.T]), colors=_INK, linewidths=0.7))
    ax.plot(at[:, 0], at[:, 1], "o", markersize=4, color="white", markeredgecolor=_INK)


def _attribution(ax: Axes, numbers: np.ndarray, assignment: np.ndarray, node: np.ndarray) -> None:
    """Colour every region by its attribution over its area: red raised the risk, blue lowered it."""
    by_label = np.concatenate([[np.nan], node[assignment]])
    most = float(np.abs(node).max())
    ax.imshow(by_label[numbers], cmap="RdBu_r", vmin=-most, vmax=most, alpha=0.75, interpolation="nearest")


def _survival(ax: Axes, result: SlideResult) -> None:
    prediction = store.load_prediction(result.directory / "prediction.json")
    days = np.concatenate([[0.0], prediction.time_days])
    ax.plot(days, np.concatenate([[1.0], prediction.survival]), color=COLOURS[0])
    if prediction.survival_band is not None:
        low, high = np.concatenate([np.ones((2, 1)), prediction.survival_band], axis=1)
        ax.fill_between(days, low, high, color=COLOURS[0], alpha=0.15, linewidth=0)
    ax.set(ylim=(0, 1.02), xlim=(0, days[-1]), xlabel="days (demonstration model)")
    ax.spines[["top", "right"]].set_visible(False)


def draw_cohort(model: Path, path: Path) -> None:
    """Draw held-out patients: survival by risk, hazard ratios, calibration.

    Parameters
    ----------
    model : Path
        Directory that ``wsigraph train`` wrote.
    path : Path
        PNG to write.
    """
    frame = cohort.load(model)
    figure, axes = pyplot.subplots(1, 3, figsize=(13.5, 4.0), layout="constrained", width_ratios=(1.2, 1, 1))
    figures.plot_kaplan_meier(frame, ax=axes[0])
    figures.plot_calibration(frame, [365, 1095], ax=axes[1])
    figures.plot_decision_curve(frame, 1095, ax=axes[2])
    figure.suptitle("160 simulated patients, each answered by a network that never saw them", fontsize=10)
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    raise SystemExit(main())
