from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from wsigraph import store
from wsigraph.cohort.manifest.manifest import read_manifest
from wsigraph.config import Config
from wsigraph.errors import StoreError
from wsigraph.geometry import Size
from wsigraph.slide.reader import read
from wsigraph.synthesis.simulation.layout import FAT, STROMA, TUMOUR, Layout, sample_tessellation
from wsigraph.synthesis.simulation.procedural import SiteStain
from wsigraph.synthesis.simulation.pyramid import paint_slide, write_pyramid
from wsigraph.synthesis.simulation.simulate import Library, SimulatedPatient, simulate
from wsigraph.synthesis.simulation.write_cohort import write_cohort


@pytest.fixture(scope="module")
def patients(library: Library, small) -> list[SimulatedPatient]:
    return list(simulate(6, library, small, rng=np.random.default_rng(3)))


@pytest.fixture(scope="module")
def settings(small) -> Config:
    return Config().model_copy(update={"synthesis": small})


def test_a_cohort_reads_back(patients: list[SimulatedPatient], settings: Config, tmp_path: Path) -> None:
    write_cohort(patients, tmp_path, settings, seed=3)
    manifest = read_manifest(tmp_path / "data_manifest.csv", stage_names=settings.model.stage_names)
    slides = [(patient, slide) for patient in patients for slide in patient.slides]
    assert len(slides) > len(patients)
    for row, (patient, slide) in zip(manifest.rows, slides, strict=True):
        outcome = patient.outcome
        assert (row.slide_id, row.patient_id) == (slide.slide_id, patient.patient)
        assert (row.time_days, row.event) == (outcome.time_days, outcome.event)
        assert row.stage == (None if outcome.stage is None else settings.model.stage_names[outcome.stage])
        assert float(row.free["oracle_risk"]) == pytest.approx(outcome.oracle_risk, abs=1e-6)
        assert float(row.free["oracle_tumour_fraction"]) == pytest.approx(patient.measures["tumour_fraction"], abs=1e-6)
        assert "synthetic" in row.free["source"]
        assert "synthetic" in row.slide_id
        graph = store.load_graph(tmp_path / row.slide_id / "graph.safetensors")
        assert (graph.moments == slide.graph.moments).all()


def test_the_same_cohort_gives_the_same_bytes(
    patients: list[SimulatedPatient], settings: Config, tmp_path: Path
) -> None:
    for name in ("first", "second"):
        write_cohort(patients[:2], tmp_path / name, settings, seed=3, images=True)
    files = sorted(path.relative_to(tmp_path / "first") for path in (tmp_path / "first").rglob("*") if path.is_file())
    assert len(files) >= 3
    for file in files:
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()


def test_stages_follow_the_names_in_the_settings(
    patients: list[SimulatedPatient], settings: Config, tmp_path: Path
) -> None:
    two = settings.model_copy(update={"model": settings.model.model_copy(update={"stage_names": ("low", "high")})})
    rows = write_cohort(patients, tmp_path, two, seed=3)
    stages = {row.patient_id: row.stage for row in rows}
    for patient in patients:
        stage = patient.outcome.stage
        assert stages[patient.patient] == (None if stage is None else ("low", "low", "high", "high")[stage])


@pytest.fixture
def painted(site: SiteStain) -> np.ndarray:
    tessellation = sample_tessellation(Size(8, 16), 30, rng=np.random.default_rng(0))
    classes = np.full((8, 16), STROMA, np.uint8)
    classes[:, 5:10], classes[:, 10:] = TUMOUR, FAT
    return paint_slide(
        Layout(classes=classes), tessellation, mpp=1.0, glass_um=100.0, site=site, rng=np.random.default_rng(1)
    )


def test_tissue_lies_on_the_glass_of_its_site(painted: np.ndarray, site: SiteStain) -> None:
    assert painted.shape == (8 * 30 + 200, 16 * 30 + 200, 3)
    glass = painted[:90]
    assert glass.mean(axis=(0, 1)) == pytest.approx(site.white, abs=1.0)
    stroma, tumour, fat = (painted[130:310, x : x + 100].mean() for x in (120, 280, 450))
    assert tumour < stroma < fat


def test_a_painted_slide_is_a_pyramid_with_a_pixel_size(painted: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "synthetic-a.tiff"
    write_pyramid(painted, path, mpp=0.5, description="synthetic-a: synthetic tissue")
    with read(path) as slide:
        assert slide.info.mpp == pytest.approx(0.5)
        assert [level.size for level in slide.info.levels] == [Size(440, 680), Size(220, 340), Size(110, 170)]
    with tifffile.TiffFile(path) as tif:
        assert "synthetic" in tif.pages[0].description
        levels = [page.asarray().astype(float) for page in tif.pages]
    # what was painted comes back but for the loss of JPEG; a mistaken colour space would be off by tens
    assert np.abs(levels[0] - painted).mean() < 4
    assert np.abs(levels[0].mean(axis=(0, 1)) - painted.mean(axis=(0, 1))).max() < 1.5
    halved = painted.reshape(220, 2, 340, 2, 3).mean(axis=(1, 3))
    assert np.abs(levels[1] - halved).mean() < 4


def test_a_slide_that_cannot_be_written_says_so(painted: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(StoreError):
        write_pyramid(painted, tmp_path / "taken" / "a.tiff", mpp=1.0, description="synthetic")
