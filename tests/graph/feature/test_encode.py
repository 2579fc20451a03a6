"""Encodings: exact sums over superpixels, whatever the cut, the company or the scheduler."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import dask
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from wsigraph.errors import PluginError, RecordError
from wsigraph.geometry import Box
from wsigraph.graph.feature.efficientnet import efficientnet_lite0
from wsigraph.graph.feature.encode import ENCODING_UNIT, encode, encoding
from wsigraph.graph.feature.moments import MOMENT_NAMES
from wsigraph.records import StainBasis, SuperpixelLabels, TissueGraph, TissueMap
from wsigraph.slide.reader import Slide, read

SLIDE = Path(__file__).parents[2] / "data" / "CMU-1-Small-Region.svs"
Maker = Callable[[np.ndarray], Slide]


class WatchedSlide(Slide):
    """A slide that remembers which boxes were decoded."""

    def __init__(self, slide: Slide) -> None:
        super().__init__(slide.info)
        self.boxes: list[Box] = []

    def read(self, box: Box, mpp: float | None = None) -> NDArray[np.uint8]:
        self.boxes.append(box)
        return super().read(box, mpp)


@dataclass
class CellMean:
    """Mean colour of each cell and a constant 1: an encoder whose sums are known."""

    name: str = "cell_mean"
    mpp: float = 1.0
    window_px: int = 64
    stride_px: int = 16
    dimension: int = 4
    batch: int = 3
    scale: float = 1.0

    def encode(self, windows: np.ndarray) -> np.ndarray:
        cells = self.window_px // self.stride_px
        split = windows.reshape(self.batch, cells, self.stride_px, cells, self.stride_px, 3)
        mean = split.astype(np.float32).mean((2, 4), dtype=np.float32)
        return np.concatenate([mean, np.ones_like(mean[..., :1])], -1) * np.float32(self.scale)


def superpixels(labels: np.ndarray, mpp: float = 1.0, n: int | None = None) -> SuperpixelLabels:
    mask = np.ones((1, 1), np.uint8)
    stain = StainBasis(vectors=np.eye(3)[:2], max_concentration=np.ones(2), nucleus_threshold=0.5, source="reference")
    tissue = TissueMap(tissue=mask, artefact=mask * 0, section=mask.astype(np.uint16), mpp=4.0, stain=stain)
    return SuperpixelLabels(labels=labels, n_superpixels=n or int(labels.max()), mpp=mpp, tissue=tissue)


def blobs(height: int, width: int, n: int, seed: int = 0) -> np.ndarray:
    """Nearest-seed regions 1..n, a third of them turned to 0; the last stays."""
    generator = np.random.default_rng(seed)
    seeds = generator.random((n, 2)) * (height, width)
    y, x = np.mgrid[:height, :width]
    nearest = ((y[..., None] - seeds[:, 0]) ** 2 + (x[..., None] - seeds[:, 1]) ** 2).argmin(-1)
    kept = generator.random(n) > 1 / 3
    kept[-1] = True
    return np.where(kept[nearest], nearest + 1, 0).astype(np.int32)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def slide_of(tmp_path: Path) -> Iterator[Maker]:
    """Return a maker of slides that hold an array at 1 um/px."""
    slides: list[Slide] = []

    def make(image: np.ndarray) -> Slide:
        path = tmp_path / f"picture_{len(slides)}.png"
        Image.fromarray(image).save(path)
        slides.append(read(path, mpp=1.0))
        return slides[-1]

    yield make
    for slide in slides:
        slide.close()


def expected_sums(image: np.ndarray, labels: SuperpixelLabels, encoder: CellMean) -> np.ndarray:
    """Every pixel by itself: the cell that holds its centre, that cell's rounded features."""
    step = Fraction(repr(labels.mpp)) / Fraction(repr(encoder.mpp)) / encoder.stride_px
    cell = [[int((Fraction(2 * k + 1, 2)) * step) for k in range(length)] for length in labels.labels.shape]
    side = encoder.stride_px
    padded = np.full(((cell[0][-1] + 1) * side, (cell[1][-1] + 1) * side, 3), 255, np.uint8)
    height, width = (min(a, b) for a, b in zip(padded.shape, image.shape[:2], strict=False))
    padded[:height, :width] = image[:height, :width]
    means = padded.reshape(cell[0][-1] + 1, side, cell[1][-1] + 1, side, 3).astype(np.float32).mean((1, 3))
    features = np.rint(np.concatenate([means, np.ones_like(means[..., :1])], -1) * 256).astype(np.int64)
    sums = np.zeros((labels.n_superpixels + 1, encoder.dimension), np.int64)
    np.add.at(sums, np.asarray(labels.labels), features[np.array(cell[0])[:, None], np.array(cell[1])[None]])
    return sums[1:]


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_sums_are_those_of_every_pixel_by_itself(batch: int, slide_of: Maker) -> None:
    image, labels = picture(333, 471), superpixels(blobs(333, 471, 40))
    encoder = CellMean(batch=batch)
    assert np.array_equal(encode(slide_of(image), labels, encoder), expected_sums(image, labels, encoder))


def test_every_batch_has_one_shape_and_the_last_is_filled_with_white(slide_of: Maker) -> None:
    @dataclass
    class Recorder(CellMean):
        windows_seen: list[np.ndarray] = field(default_factory=list)

        def encode(self, windows: np.ndarray) -> np.ndarray:
            self.windows_seen.append(windows.copy())
            return super().encode(windows)

    recorder = Recorder()
    image = picture(64, 256)
    encode(slide_of(image), superpixels(np.ones((64, 256), np.int32)), recorder)
    whole, rest = recorder.windows_seen
    assert whole.shape == rest.shape == (3, 64, 64, 3)
    assert np.array_equal(np.concatenate([*whole, rest[0]], axis=1), image)
    assert (rest[1:] == 255).all()


@pytest.mark.parametrize("mpp", [0.5, 0.499, 0.37, 1.3, 2.0, 20.0])
def test_another_working_mpp_lays_cells_by_pixel_centres(mpp: float, slide_of: Maker) -> None:
    height, width = round(150 / mpp), round(210 / mpp)
    image, labels = picture(150, 210), superpixels(blobs(height, width, 12), mpp)
    encoder = CellMean()
    sums = encode(slide_of(image), labels, encoder)
    assert np.array_equal(sums, expected_sums(image, labels, encoder))
    areas = np.bincount(np.asarray(labels.labels).ravel(), minlength=labels.n_superpixels + 1)[1:]
    assert np.array_equal(sums[:, 3], areas * ENCODING_UNIT)


def test_merged_superpixels_have_the_sum_of_their_parts(slide_of: Maker) -> None:
    image, fine = picture(200, 300), blobs(200, 300, 30)
    merge = np.concatenate([[0], np.random.default_rng(1).permutation(np.arange(30) % 7) + 1]).astype(np.int32)
    parts = encode(slide_of(image), superpixels(fine), CellMean())
    whole = encode(slide_of(image), superpixels(merge[fine]), CellMean())
    joined = np.zeros_like(whole)
    np.add.at(joined, merge[1:] - 1, parts)
    assert np.array_equal(whole, joined)


def test_windows_without_tissue_are_not_decoded(slide_of: Maker) -> None:
    labels = np.zeros((900, 1100), np.int32)
    labels[70:120, 140:180] = 1
    labels[600:640, 1030:1100] = 2
    image = picture(*labels.shape)
    with WatchedSlide(slide_of(image)) as slide:
        sums = encode(slide, superpixels(labels), CellMean())
    assert np.array_equal(sums, expected_sums(image, superpixels(labels), CellMean()))
    wanted = {Box(y0=64, x0=128, y1=128, x1=192), Box(y0=576, x0=1024, y1=640, x1=1152)}
    assert set(slide.boxes) == wanted
    assert len(slide.boxes) == 2


@pytest.mark.parametrize(
    ("encoder", "fault"),
    [
        (CellMean(scale=np.nan), "not finite"),
        (CellMean(scale=np.inf), "not finite"),
        (CellMean(scale=1e6), "beyond 1048576"),
        (CellMean(dimension=5), r"returned shape \(3, 4, 4, 4\), expected \(3, 4, 4, 5\)"),
        (CellMean(stride_px=24), "multiple of its stride of 24 px"),
    ],
)
def test_an_encoder_that_breaks_its_word_is_named(encoder: CellMean, fault: str, slide_of: Maker) -> None:
    with pytest.raises(PluginError, match=fault) as caught:
        encode(slide_of(picture(70, 70)), superpixels(blobs(70, 70, 3)), encoder)
    assert "'cell_mean'" in str(caught.value)


def test_progress_ends_at_its_total(slide_of: Maker) -> None:
    calls: list[tuple[str, int, int]] = []
    encode(
        slide_of(picture(600, 600)),
        superpixels(blobs(600, 600, 9)),
        CellMean(),
        progress=lambda stage, done, total: calls.append((stage, done, total)),
    )
    # ten windows of 64 px a side cover 600 px
    assert calls[0] == ("encode", 0, 640**2)
    assert calls[-1] == ("encode", 640**2, 640**2)


def graph_of(labels: SuperpixelLabels, sums: np.ndarray | None) -> TissueGraph:
    moments = np.zeros((labels.n_superpixels, len(MOMENT_NAMES)), np.int64)
    moments[:, 0] = np.bincount(np.asarray(labels.labels).ravel(), minlength=labels.n_superpixels + 1)[1:]
    return TissueGraph(
        slide_id="a",
        mpp=labels.mpp,
        size=labels.size,
        moments=moments,
        moment_names=MOMENT_NAMES,
        edge_index=np.zeros((2, 0), np.int64),
        boundary=np.zeros((0, 2), np.int64),
        stain=labels.tissue.stain,
        encoding_sum=sums,
        encoder=None if sums is None else "cell_mean",
    )


def test_encoding_is_the_mean_over_a_regions_pixels(slide_of: Maker) -> None:
    labels = superpixels(np.repeat(np.arange(1, 5, dtype=np.int32), 16)[None].repeat(16, 0))
    image = picture(16, 64)
    graph = graph_of(labels, encode(slide_of(image), labels, CellMean()))
    means = image.reshape(16, 4, 16, 3).mean((0, 2))
    # Each mean was rounded to 1/256.
    np.testing.assert_allclose(encoding(graph)[:, :3], means, rtol=0, atol=0.5 / ENCODING_UNIT)
    assert np.array_equal(encoding(graph)[:, 3], np.ones(4))
    with pytest.raises(RecordError, match="slide 'a' holds no encoding"):
        encoding(replace(graph, encoding_sum=None, encoder=None))


@pytest.fixture(scope="module")
def tissue() -> Iterator[Slide]:
    with read(SLIDE) as slide:
        yield slide


def test_network_features_keep_their_bits_under_any_scheduler(tissue: Slide) -> None:
    labels = superpixels(blobs(900, 600, 60))
    encoder = efficientnet_lite0()
    with dask.config.set(scheduler="synchronous"):
        alone = encode(tissue, labels, encoder)
    assert (alone[np.unique(np.asarray(labels.labels))[1:] - 1].std(0) > 0).all()
    for workers in (2, 3):
        with dask.config.set(scheduler="threads", num_workers=workers):
            assert np.array_equal(encode(tissue, labels, encoder), alone)


def test_tissue_encoded_in_two_goes_gives_the_sums_of_one(tissue: Slide) -> None:
    labels = blobs(900, 600, 60)
    encoder = efficientnet_lite0()
    whole = encode(tissue, superpixels(labels), encoder)
    parts = np.zeros_like(whole)
    for rows in (slice(0, 512), slice(512, None)):
        kept = np.zeros_like(labels)
        kept[rows] = labels[rows]
        parts += encode(tissue, superpixels(kept, n=60), encoder)
    assert np.array_equal(parts, whole)


def test_asking_for_the_module_loads_no_torch() -> None:
    code = "import sys, wsigraph.graph.feature.encode; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
