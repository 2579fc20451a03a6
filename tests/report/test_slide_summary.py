"""The facts: complete, plain, without time, path or host."""

from __future__ import annotations

import json
import os
import socket

import numpy as np
import pytest

from tests.outline.drawn_regions import NOTICE, coarse_of, graph_of, labels_of, prediction, slide_info
from wsigraph import __version__
from wsigraph.records import CoarseGraph
from wsigraph.report.slide_summary import provenance, summary, versions

CELLS = np.array([[1, 1, 2], [0, 2, 2]])


def test_a_summary_holds_what_the_records_say() -> None:
    graph = graph_of(CELLS, mpp=20.0)
    coarse = CoarseGraph(graph=graph, assignment=np.array([0, 0, 1]), embedding_id="e")
    found = summary(
        slide=slide_info(2, 3, mpp=20.0),
        labels=labels_of(CELLS, n_superpixels=3, mpp=20.0),
        coarse=coarse,
        prediction=prediction(),
        files=["b", "a"],
        warnings=["the pixel size was given by hand", "and another"],
    )
    assert found["tissue_mm2"] == pytest.approx(5 * 400e-6)
    assert (found["superpixels"], found["nodes"]) == (3, 2)
    assert found["stage"] == {"I": 0.1, "II": 0.2, "III": 0.4, "IV": 0.3}
    assert found["survival"]["time_days"] == [365.0, 1095.0, 1825.0]
    assert found["survival"]["probability"] == pytest.approx([0.9, 0.63, 0.315])
    assert (found["risk"], found["median_survival_days"], found["notice"]) == (-0.25, 1440.0, NOTICE)
    assert found["warnings"] == [
        "the pixel size was given by hand",
        "3 of 36 features lie outside the training range",
        "and another",
    ]
    assert found["files"] == ["a", "b"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_provenance_names_digests_and_versions_but_no_place() -> None:
    slide = slide_info(2, 3)
    found = provenance(slide=slide, coarse=coarse_of(graph_of(CELLS)), prediction=prediction(), is_synthetic=False)
    text = json.dumps(found)
    assert found["slide_sha256"] == slide.sha256
    assert found["model_id"] == "a" * 64
    assert found["versions"]["wsigraph"] == __version__
    for word in (slide.path, socket.gethostname(), os.getcwd()):  # noqa: PTH109 -- the text is what is looked for
        assert word not in text


def test_versions_name_every_library_that_makes_numbers() -> None:
    found = versions()
    assert {"wsigraph", "python", "numpy", "torch", "matplotlib"} <= found.keys()
    assert "absent" not in found.values()
