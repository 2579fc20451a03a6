"""The page over a cohort: every slide once, failures named, survival only of patients that the model has not seen."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsigraph import store
from wsigraph.cohort.manifest.manifest import Manifest, ManifestRow
from wsigraph.cohort.metrics.proportion_interval import wilson_confidence_interval
from wsigraph.errors import StoreError
from wsigraph.records import Prediction
from wsigraph.report.faithfulness_summary import summarize_faithfulness
from wsigraph.report.overview import OVERVIEW, gather_rows, render, survival_groups, write_overview

Maker = Callable[[str, float], Path]


def prediction(slide_id: str, risk: float) -> Prediction:
    hazard = np.array([0.2, 0.5])
    return Prediction(
        slide_id=slide_id,
        model_id="m",
        model_name="tiny",
        stage_names=("I", "II"),
        stage_probability=np.array([0.25, 0.75]),
        time_days=np.array([100.0, 400.0]),
        hazard=hazard,
        survival=np.cumprod(1 - hazard),
        risk=risk,
        median_survival_days=None,
        notice="not for use",
    )


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for number in range(8):
        folder = tmp_path / f"slide & {number}"
        folder.mkdir()
        (folder / "slide.json").write_text("{}")
        store.save_prediction(prediction(folder.name, float(number)), folder / "prediction.json")
        fields = {"tissue_mm2": 1.5, "warnings": ["blurred <here>"] if number == 3 else []}
        store.save_document(store.Destination(folder / "report.json"), "Report", fields)
        Image.fromarray(np.full((300, 500, 3), 200, np.uint8)).save(folder / "report.png")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "slide.json").write_text("{}")
    (tmp_path / "notes.txt").write_text("not a slide")
    return tmp_path


def manifest_of(names: list[str]) -> Manifest:
    rows = tuple(
        ManifestRow(
            line=number + 2,
            slide_id=name,
            patient_id=f"p{number}",
            site=None,
            path=None,
            mpp=None,
            stage=None,
            grade=None,
            time_days=1000.0 - 100 * number,
            event=True,
            split=None,
            sha256=None,
            free={},
        )
        for number, name in enumerate(names)
    )
    return Manifest(path=Path("m.csv"), rows=rows, warnings=())


def test_every_slide_is_shown_once_and_failures_are_named(runs: Path) -> None:
    noted = [{"slide_id": "gone", "stage": "read", "message": "no such file"}]
    (runs / "summary.json").write_text(json.dumps({"failures": noted}))
    page = write_overview(runs).read_text(encoding="utf-8")
    for number in range(8):
        assert page.count(f'<a href="slide%20%26%20{number}/report.png">') == 1
    assert "read: no such file" in page
    assert "1 slide has records but no prediction, and did not fail: broken." in page
    assert "blurred &lt;here&gt;" in page
    assert "Cohort of 8 slides" in page
    assert page.count("data:image/jpeg") == 8
    assert (runs / OVERVIEW).read_bytes() == write_overview(runs).read_bytes()


def test_a_slide_that_was_not_to_be_predicted_did_not_fail(runs: Path) -> None:
    """As after ``run --until coarsen``: the summary lists no failure of the slide."""
    noted = [{"slide_id": "gone", "step": "read", "message": "no such file"}]
    (runs / "summary.json").write_text(json.dumps({"until": "coarsen", "failures": noted}))
    output = subprocess.run(
        [sys.executable, "-m", "wsigraph", "report", "cohort", str(runs)], capture_output=True, text=True, check=True
    )
    assert output.stdout == f"{runs / OVERVIEW}: 8 slides, 1 failed, 1 without a prediction\n"
    page = (runs / OVERVIEW).read_text(encoding="utf-8")
    failures, pending = page.split('id="failures"')[1].split('id="pending"')
    assert "gone" in failures
    assert "broken" not in failures
    assert "broken" in pending.split("<h2")[0]
    values = json.loads(
        subprocess.run(
            [sys.executable, "-m", "wsigraph", "report", "cohort", str(runs), "--json"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )
    assert (values["slides"], values["failed"], values["without_prediction"]) == (8, 1, 1)


def test_a_failed_slide_with_records_is_a_failure(runs: Path) -> None:
    noted = [{"slide_id": "broken", "step": "tissue", "message": "no tissue"}]
    (runs / "summary.json").write_text(json.dumps({"failures": noted}))
    _, (slide,) = gather_rows(runs, None)
    assert (slide.slide_id, slide.message, slide.has_failed) == ("broken", "tissue: no tissue", True)
    assert 'id="pending"' not in write_overview(runs).read_text(encoding="utf-8")


def test_the_only_script_is_the_one_that_the_policy_names(runs: Path) -> None:
    page = write_overview(runs).read_text(encoding="utf-8")
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src &#39;sha256-{digest}&#39;" in page
    assert "default-src &#39;none&#39;" in page
    assert not re.findall(r"""(?:src|href)=["']https?:""", page)


def test_survival_is_split_at_the_median_risk(runs: Path) -> None:
    rows, _ = gather_rows(runs, manifest_of([f"slide & {number}" for number in range(8)]))
    groups = survival_groups(rows, manifest_of([f"slide & {number}" for number in range(8)]))
    assert [groups[name].n_patients for name in ("lower risk", "higher risk")] == [4, 4]
    # the higher the number, the higher the risk and the earlier the death
    assert groups["higher risk"].time_days.max() < groups["lower risk"].time_days.min()
    assert b"Kaplan-Meier with 95 % bands" in render(rows, [], groups)


def test_patients_without_follow_up_are_left_out(runs: Path) -> None:
    known = manifest_of([f"slide & {number}" for number in range(8)])
    first = replace(known.rows[0], time_days=0.0, event=True)
    groups = survival_groups(gather_rows(runs, known)[0], replace(known, rows=(first, *known.rows[1:])))
    assert sum(group.n_patients for group in groups.values()) == 7


def test_patients_of_the_training_cohort_are_left_out(runs: Path) -> None:
    known = manifest_of([f"slide & {number}" for number in range(8)])
    rows, _ = gather_rows(runs, known)
    seen = [replace(row, relation="in training") if number < 4 else row for number, row in enumerate(rows)]
    groups = survival_groups(seen, known)
    assert sum(each.n_patients for each in groups.values()) == 4
    assert b"4 slides of the training cohort are left out" in render(seen, [], groups)
    assert survival_groups([replace(row, relation="in training") for row in rows], known) == {}
    assert survival_groups(rows, None) == {}


def test_a_directory_without_slides_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no slide's directory"):
        write_overview(tmp_path / "absent")


def test_quality_is_told_and_sorts(runs: Path) -> None:
    rows, _ = gather_rows(runs, None)
    assert {row.distance for row in rows} == {None}
    blurred = replace(rows[0], artefact_mm2={"fold": 0.0, "out of focus": 0.25}, distance=3.21)
    page = render([blurred, *rows[1:]], [], {}).decode()
    assert '<td class="number" data-key="0.25">out of focus 0.25 mm²</td>' in page
    assert '<td class="number" data-key="3.21">3.2 SD</td>' in page
    assert "fold" not in page


def test_explanations_are_compared_with_other_orders(runs: Path) -> None:
    rows, _ = gather_rows(runs, None)
    assert b"No slide is explained" in render(rows, [], {})
    right = {"drop": {"attribution": 0.5, "random_mean": 0.1, "area": 0.6}}
    wrong = {"drop": {"attribution": 0.05, "random_mean": 0.1, "area": 0.0}}
    gains = [right, right, right, wrong, {}]
    summary = summarize_faithfulness(gains)
    assert (summary.n_explained, summary.n_slides) == (4, 5)
    assert [(row.ablation, row.order, row.n_better, row.n_slides) for row in summary.rows] == [
        ("removed", "random orders, on average", 3, 4),
        ("removed", "largest first", 1, 4),
    ]
    assert (summary.rows[0].low, summary.rows[0].high) == wilson_confidence_interval(3, 4)
    page = render([replace(rows[0], gains=slide) for slide in gains], [], {}).decode()
    assert "4 of 5 slides are explained" in page
    assert '<td>largest first</td><td class="number">1 of 4</td>' in page
    low, high = wilson_confidence_interval(3, 4)
    assert f"0.75 ({low:.2f} to {high:.2f})" in page
    assert "replaced" not in page
    facts = {"curves": {"drop": {"gain": right["drop"], "n_random": 3}}}
    store.save_document(
        store.Destination(runs / "slide & 2" / "explanation.json"), "ExplanationFacts", {"facts": facts}
    )
    assert "1 of 8 slides are explained" in write_overview(runs).read_text(encoding="utf-8")
