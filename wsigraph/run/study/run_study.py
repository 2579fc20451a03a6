"""Carries out a study: manifest, graphs, model, scores, explanations and page, each continued where it stopped.

Every step is the function behind a single command: ``wsigraph run``, ``train``, ``evaluate`` and ``explain``. A step
that cannot be carried out, such as training on too few patients, does not end the study; the page says why.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsigraph.config import Config
from wsigraph.errors import CohortError, ModelError, WsigraphError
from wsigraph.run.study.plan import STEPS, StudyPlan, save_plan
from wsigraph.run.study.prepare import MANIFEST, LeftOut, PreparedStudy, prepare_study, write_left_out
from wsigraph.run.study.study_document import build_document
from wsigraph.run.study.study_tables import write_tables

if TYPE_CHECKING:
    from wsigraph.cohort.manifest.manifest_row import ManifestRow
    from wsigraph.run.batch.run import Watch

RUNS, MODEL, PAGE = "runs", "model", "study.html"
"""Records of the slides, the trained model, and the page, in the directory of a study."""
SITES_MIN = 6
"""Fewest sites for which folds leave out whole sites by default."""

_PICTURES = {
    "figures/calibration.png": "Calibration of survival at one year: observed over predicted probability of the event.",
    "figures/decision_curve.png": "Net benefit at one year over the threshold at which a patient would be treated.",
}

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyProgress:
    """How a study reports its progress.

    Attributes
    ----------
    step : callable
        Called with the name of every step that begins, its number from 1, and how many there are.
    watch : callable
        Returns a context that yields what `wsigraph.run.batch.run.run_cohort` calls with its tally.
    line : callable
        Returns, for a label, a context that yields a function of (what, done, total) or None.
    """

    step: Callable[[str, int, int], None] = lambda _name, _number, _total: None
    watch: Callable[[], AbstractContextManager[Watch | None]] = nullcontext
    line: Callable[[str], AbstractContextManager[Progress | None]] = lambda _label: nullcontext()


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyResult:
    """Result of `run_study`.

    Attributes
    ----------
    directory : Path
        Directory of the study.
    page : Path or None
        The page; None if the study ended before it.
    document : dict
        What the page shows.
    """

    directory: Path
    page: Path | None
    document: dict[str, Any]


@dataclass(slots=True, kw_only=True)
class _State:
    """What the steps of a study have produced."""

    prepared: PreparedStudy
    settings: Config
    left_out: list[LeftOut] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    task: str | None = None
    group: str = "patient"
    evaluation: dict[str, Any] | None = None
    explained: list[dict[str, str]] = field(default_factory=list)


def run_study(
    plan: StudyPlan,
    directory: Path | str,
    config: Config | None = None,
    *,
    until: str = "page",
    restart: bool = False,
    force: bool = False,
    progress: StudyProgress | None = None,
) -> StudyResult:
    """Carry out a study.

    Parameters
    ----------
    plan : StudyPlan
        Slides, clinical table and mapping.
    directory : Path or str
        Directory of the study; a second call continues there.
    config : Config, optional
        Settings; ``model.stage_names`` and ``model.task`` follow from the plan and the table.
    until : str
        Last step, one of `STEPS`.
    restart : bool
        Whether to discard a model of other settings or data.
    force : bool
        Whether to train on a cohort that is too small to be scored.
    progress : StudyProgress, optional
        How progress is reported.

    Returns
    -------
    StudyResult
        The page and what it shows.

    Raises
    ------
    CohortError
        If the table cannot be mapped, no slide has a patient, or `until` names no step.
    StoreError
        If a file cannot be written.
    WsigraphError
        As the steps raise; finished work stays and the next call continues.
    """
    if until not in STEPS:
        raise CohortError(f"--until {until!r} is no step of a study, expected one of {', '.join(STEPS)}")
    directory, show = Path(directory), progress or StudyProgress()
    directory.mkdir(parents=True, exist_ok=True)
    save_plan(plan, directory)
    last = STEPS.index(until)
    show.step("manifest", 1, last + 1)
    with show.line(plan.clinical) as line:
        prepared = prepare_study(plan, directory, progress=line)
    state = _State(prepared=prepared, settings=_settings(config or Config(), plan), left_out=list(prepared.left_out))
    state.group = _group(plan, prepared.rows)
    state.task = _task(prepared.rows)
    actions: Sequence[tuple[str, Callable[[], None]]] = (
        ("graphs", lambda: _build_graphs(state, plan, directory, show)),
        ("train", lambda: _train(state, plan, directory, show, restart=restart, force=force)),
        ("evaluate", lambda: _evaluate(state, directory, show)),
        ("explain", lambda: _explain(state, plan, directory, show)),
    )
    for number, (name, action) in enumerate(actions, start=2):
        if number > last + 1:
            break
        show.step(name, number, last + 1)
        action()
    document = build_document(plan, state.prepared, directory, state)
    if until != "page":
        return StudyResult(directory=directory, page=None, document=document)
    show.step("page", last + 1, last + 1)
    return StudyResult(directory=directory, page=_write_page(document, directory), document=document)


def _settings(config: Config, plan: StudyPlan) -> Config:
    return _changed(config, {"model.stage_names": list(plan.columns.stage_names)})


def _changed(config: Config, changes: dict[str, object]) -> Config:
    """Return settings with some values changed and checked."""
    values = json.loads(config.model_dump_json())
    for key, value in changes.items():
        section, name = key.split(".")
        values[section][name] = value
    return Config.model_validate(values)


def _group(plan: StudyPlan, rows: Sequence[ManifestRow]) -> str:
    if plan.group != "auto":
        return plan.group
    sites = {row.site for row in rows if row.site}
    return "site" if len(sites) >= SITES_MIN and all(row.site for row in rows) else "patient"


def _task(rows: Sequence[ManifestRow]) -> str | None:
    """Return what can be learned: stage, survival, both or nothing."""
    stages = Counter({row.patient_id: row.stage for row in rows if row.stage}.values())
    events = {row.patient_id for row in rows if row.follow_up_days is not None and row.event}
    tasks = [name for name, known in (("stage", len(stages) > 1), ("survival", len(events) > 1)) if known]
    return "both" if len(tasks) == 2 else (tasks[0] if tasks else None)


def _build_graphs(state: _State, plan: StudyPlan, directory: Path, show: StudyProgress) -> None:
    from wsigraph.cohort.manifest.manifest import read_manifest
    from wsigraph.run.batch.run import run_cohort

    table = read_manifest(directory / MANIFEST, stage_names=state.settings.model.stage_names)
    with show.watch() as watch:
        result = run_cohort(table, directory / RUNS, state.settings, until="coarsen", watch=watch, tile_px=plan.tile_px)
    for failure in result.summary["failures"]:
        reason = f"{failure['error']}: {failure['message']}"
        state.left_out.append(LeftOut(kind="slide", name=failure["slide_id"], reason=reason, group="no graph"))
    write_left_out(state.left_out, directory)


def _train(state: _State, plan: StudyPlan, directory: Path, show: StudyProgress, *, restart: bool, force: bool) -> None:
    from wsigraph.run.train_cohort import train

    if state.task is None:
        state.problems.append(
            "no model was trained: the table has neither two stages nor two events of patients with slides"
        )
        return
    state.settings = _changed(state.settings, {"model.task": state.task})
    try:
        with show.line("train") as line:
            train(
                directory / MANIFEST,
                directory / RUNS,
                directory / MODEL,
                state.settings,
                n_folds=plan.folds,
                group="site" if state.group == "site" else "patient",
                seed=plan.seed,
                splits=plan.splits,
                allow_missing=True,
                restart=restart,
                force=force,
                progress=line,
            )
    except CohortError as error:
        # too few patients, events or sites: what can be said of the cohort is still of use
        state.problems.append(f"no model was trained: {error}")


def _evaluate(state: _State, directory: Path, show: StudyProgress) -> None:
    from wsigraph.training.evaluation.evaluate import evaluate

    if not (directory / MODEL / "card.json").is_file():
        return
    try:
        with show.line("evaluate") as line:
            report = None if line is None else lambda name: line(f"baseline {name}", 0, 1)
            state.evaluation = evaluate(
                directory / MODEL, coarsening=state.settings.coarsening, workers=0, report=report, progress=line
            )
    except (CohortError, ModelError) as error:
        state.problems.append(f"the model was not evaluated: {error}")


def _explain(state: _State, plan: StudyPlan, directory: Path, show: StudyProgress) -> None:
    """Explain the patients of highest, lowest and least certain prediction, each by the member that held them out."""
    from wsigraph.explanation.request import ExplanationRequest
    from wsigraph.run.steps import run_slide

    if not (directory / MODEL / "card.json").is_file():
        return
    target = "risk" if state.task in ("survival", "both") else "stage"
    chosen = _chosen_patients(state, directory)
    for number, (label, row) in enumerate(chosen, start=1):
        try:
            with show.line(f"patient {number} of {len(chosen)}, {label}: {row.slide_id}") as line:
                result = run_slide(
                    row.path,
                    directory / RUNS,
                    state.settings,
                    features=row.features,
                    tile_px=plan.tile_px,
                    mpp=row.mpp,
                    slide_id=row.slide_id,
                    model=directory / MODEL,
                    progress=line,
                    explain=ExplanationRequest(target=target, site=row.site),
                )
        except WsigraphError as error:
            state.problems.append(f"{row.slide_id} was not explained: {error}")
            continue
        if result.withheld:
            state.problems.append(f"{row.slide_id} was not explained: its prediction is withheld: {result.withheld}")
            continue
        page = (result.directory / "report.html").relative_to(directory).as_posix()
        state.explained.append({"label": label, "patient": row.patient_id, "slide": row.slide_id, "page": page})


def _chosen_patients(state: _State, directory: Path) -> list[tuple[str, ManifestRow]]:
    """Return the first slide of three patients, with the reason for their choice."""
    import numpy as np

    from wsigraph.cohort.manifest.manifest_row import patient_digest
    from wsigraph.model.bundle import load_bundle
    from wsigraph.training.held_out import load_held_out

    bundle = load_bundle(directory / MODEL)
    held_out = load_held_out(directory / MODEL, bundle.model_id)
    failed = {one.name for one in state.left_out}
    slides = {
        patient_digest(row.patient_id): row for row in reversed(state.prepared.rows) if row.slide_id not in failed
    }
    if held_out.has_survival:
        score = held_out.risk - held_out.risk_cut[held_out.fold]
        names, doubt = ("highest risk", "lowest risk"), -np.abs(score)
    else:
        stages = np.arange(held_out.stage_probability.shape[1])
        score = held_out.stage_probability @ stages
        names, doubt = ("highest predicted stage", "lowest predicted stage"), None
    if held_out.has_stage:
        p = np.clip(held_out.stage_probability, 1e-12, 1.0)
        doubt = -(p * np.log(p)).sum(axis=1)
    order = {names[0]: np.argsort(-score), names[1]: np.argsort(score), "least certain": np.argsort(-np.asarray(doubt))}
    chosen: dict[str, tuple[str, ManifestRow]] = {}
    for label, ranked in order.items():
        for number in ranked:
            digest = str(held_out.patient[number])
            if digest in slides and digest not in chosen:
                chosen[digest] = (label, slides[digest])
                break
    return list(chosen.values())


def _write_page(document: dict[str, Any], directory: Path) -> Path:
    from wsigraph.figures.page.templates import render_page
    from wsigraph.store.atomic import write_file
    from wsigraph.training.evaluation.evaluation_page import baseline_row, interval

    files = write_tables(document, directory)
    page = directory / PAGE
    charts = document.pop("charts")
    pictures = [
        (caption, "data:image/png;base64," + base64.b64encode((directory / name).read_bytes()).decode())
        for name, caption in _PICTURES.items()
        if name in files["figures"]
    ]
    baselines = [baseline_row(*one) for one in (document["evaluation"] or {"baselines": {}})["baselines"].items()]
    html = render_page(
        "study.html",
        document=document,
        charts=charts,
        pictures=pictures,
        files=files,
        baselines=baselines,
        interval=interval,
    )
    write_file(page, html.encode())
    write_file(directory / "study.json", json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False).encode())
    return page
