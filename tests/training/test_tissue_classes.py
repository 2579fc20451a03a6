"""Training tissue classes: the fit, held-out scores, thresholds, and what is left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import check_grad

from wsigraph.errors import CohortError
from wsigraph.graph.tissue_class.annotated import AnnotatedSlide
from wsigraph.graph.tissue_class.class_features import class_feature_names
from wsigraph.graph.tissue_class.node_classifier import softmax
from wsigraph.training.softmax_fit import fit_softmax
from wsigraph.training.tissue_scores import class_thresholds, score_classes
from wsigraph.training.train_tissue_classes import CANDIDATES, train_tissue_classes

WIDTH = len(class_feature_names(neighbours=True))


def slide_of(number: int, counts: dict[str, int], *, nuclei: str = "rule") -> AnnotatedSlide:
    """Return a slide whose classes differ in one column each,."""
    rng = np.random.default_rng(number)
    names = tuple(counts)
    label = np.repeat(np.arange(len(names)), list(counts.values()))
    values = rng.normal(size=(len(label), WIDTH))
    for row, column in enumerate(label):
        values[row, "ABCDE".index(names[column])] += 3.0
    return AnnotatedSlide(
        slide_id=f"s{number}",
        group=f"s{number}",
        class_names=names,
        values=values,
        label=label,
        centre_um=rng.uniform(0, 1000, (len(label), 2)),
        nuclei=nuclei,
    )


def test_regression_equals_scikit_learn() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    slide = slide_of(1, {"A": 60, "B": 40, "C": 30})
    values, weight = slide.values[:, :6], np.random.default_rng(0).uniform(0.5, 2.0, len(slide.label))
    fitted = fit_softmax(values, slide.label, weight, n_classes=3, penalty=0.02)
    rows = (values - values.mean(axis=0)) / values.std(axis=0)
    own = linear_model.LogisticRegression(C=1 / 0.02, max_iter=2000, tol=1e-9)
    own.fit(np.clip(rows, -5, 5), slide.label, sample_weight=weight / weight.sum())
    ours = softmax(fitted.logits(values))
    assert ours == pytest.approx(own.predict_proba(np.clip(rows, -5, 5)), abs=2e-3)  # L-BFGS stops at 1e-5 of the loss


def test_the_network_learns_what_a_line_cannot() -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(size=(400, 2))
    label = ((values[:, 0] > 0) ^ (values[:, 1] > 0)).astype(np.int64)
    accuracy = {}
    for hidden in (0, 16):
        fitted = fit_softmax(values, label, np.ones(400), n_classes=2, penalty=1e-4, hidden=hidden)
        accuracy[hidden] = float((fitted.logits(values).argmax(axis=1) == label).mean())
    assert accuracy[0] < 0.65
    assert accuracy[16] > 0.9


def test_whole_slides_are_held_out_and_sets_cover() -> None:
    slides = [slide_of(number, {"A": 60, "B": 60, "C": 40}) for number in range(6)]
    trained = train_tissue_classes(slides, candidates=CANDIDATES[:2])
    assert trained.scores["held_out"] == "slides"
    assert trained.scores["balanced_accuracy"] > 0.9
    assert np.sum(trained.scores["confusion"]) == 6 * 160
    # 240 to 360 regions a class: a standard error of about 0.02
    assert all(0.84 < value < 0.96 for value in trained.scores["coverage"].values())
    fresh = slide_of(99, {"A": 400, "B": 400, "C": 400})
    width = len(trained.model.mean)
    probability = softmax(trained.model.logits(fresh.values[:, :width]) / trained.model.temperature)
    own = probability[np.arange(1200), fresh.label]
    assert float((own >= trained.model.thresholds[fresh.label]).mean()) == pytest.approx(0.9, abs=0.05)
    again = train_tissue_classes(slides, candidates=CANDIDATES[:2])
    assert (again.model.weights == trained.model.weights).all()


def test_a_class_on_one_slide_is_scored_by_its_parts_and_said_so() -> None:
    slides = [
        slide_of(1, {"A": 40, "B": 40, "C": 40}),
        slide_of(2, {"A": 40, "B": 40}),
        slide_of(3, {"A": 40, "B": 40}),
    ]
    scores = train_tissue_classes(slides, candidates=CANDIDATES[:1]).scores
    assert scores["classes_of_one_slide"] == ["C"]
    assert scores["balanced_accuracy"] == pytest.approx(np.mean(scores["recall"][:2]), abs=1e-3)
    alone = train_tissue_classes([slides[0]], candidates=CANDIDATES[:1]).scores
    assert alone["held_out"].startswith("quarters of one slide")


def test_classes_with_too_few_regions_are_left_out_by_name() -> None:
    slides = [slide_of(1, {"A": 30, "B": 30, "C": 1}), slide_of(2, {"A": 30, "B": 30, "C": 1})]
    trained = train_tissue_classes(slides, candidates=CANDIDATES[:1])
    assert trained.notes == ("class 'C' has 2 regions, expected at least 3; it is left out, draw more of it",)
    assert trained.model.class_names == ("A", "B")
    with pytest.raises(
        CohortError, match="1 class with at least 3 regions, expected at least 2; class 'B' has 1 region,"
    ):
        train_tissue_classes([slide_of(1, {"A": 30, "B": 1})])
    with pytest.raises(CohortError, match="nuclei by network 1 and rule, expected one way"):
        train_tissue_classes([slides[0], slide_of(2, {"A": 9, "B": 9}, nuclei="network 1")])


def test_thresholds_and_scores_in_closed_form() -> None:
    probability = np.array([[value, 1 - value] for value in np.linspace(0.05, 0.95, 19)])
    label = np.zeros(19, np.int64)
    # 19 rows: the floor(0.1 * 20) = 2nd smallest; the other class has no row and is in every set
    assert class_thresholds(probability, label, 0.9).tolist() == pytest.approx([0.1, 0.0])
    table = score_classes(
        np.array([0, 0, 1, 1]), np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7]]), np.array([0, 1, 0, 1]),
        np.array([False, False]),
    )  # fmt: skip
    assert table["confusion"] == [[1, 1], [0, 2]]
    assert table["balanced_accuracy"] == 0.75


@pytest.mark.parametrize("hidden", [0, 3])
def test_gradients_are_exact(hidden: int, monkeypatch) -> None:
    from wsigraph.training import softmax_fit

    taken = {}

    def keep(loss, start, **_: object) -> object:
        taken["loss"], taken["start"] = loss, start
        return type("Found", (), {"x": start})()

    monkeypatch.setattr(softmax_fit, "minimize", keep)
    slide = slide_of(4, {"A": 12, "B": 9})
    fit_softmax(slide.values[:, :4], slide.label, np.ones(21), n_classes=2, penalty=0.1, hidden=hidden)
    point = np.random.default_rng(1).normal(size=len(taken["start"]))
    error = check_grad(lambda x: taken["loss"](x)[0], lambda x: taken["loss"](x)[1], point)
    assert error < 1e-5


def test_the_model_knows_its_stain_and_checks_it(tmp_path: Path) -> None:
    from dataclasses import replace

    from wsigraph.errors import ModelError
    from wsigraph.graph.tissue_class.node_classifier import load_node_classifier, save_node_classifier

    slides = [replace(slide_of(number, {"A": 20, "B": 20}), stain="h-dab") for number in range(3)]
    model = train_tissue_classes(slides, candidates=CANDIDATES[:1]).model
    assert model.stain == "h-dab"
    assert "forced" not in model.card
    save_node_classifier(model, tmp_path)
    again = load_node_classifier(tmp_path)
    assert again.stain == "h-dab"
    again.check_stain("h-dab")
    with pytest.raises(ModelError, match=r"trained on sections in h-dab, slide.stain is 'h&e'"):
        again.check_stain("h&e")
    assert load_node_classifier().stain == "h&e"  # the shipped one was written before the field
    with pytest.raises(ModelError, match="--tissue-model"):
        load_node_classifier().check_stain("pas")
    mixed = [*slides[:2], replace(slides[2], stain="h&e")]
    with pytest.raises(CohortError, match="h&e and h-dab, expected one stain"):
        train_tissue_classes(mixed, candidates=CANDIDATES[:1])
    forced = [*slides[:2], replace(slides[2], mark="NOT AN H&E SECTION, forced: x")]
    assert train_tissue_classes(forced, candidates=CANDIDATES[:1]).model.card["forced"] == ["s2"]
