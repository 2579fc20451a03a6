"""Train a model on a cohort: the manifest of the slides and their stored graphs become a model directory.

The verb behind ``wsigraph train``. It reads the graphs, trains one network per fold, and writes beside the model what
explanations need to know of the training cohort.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from wsigraph.cohort.manifest.endpoint import Endpoint, with_endpoint
from wsigraph.config import Config, load

if TYPE_CHECKING:
    from wsigraph.cohort.manifest.manifest import ManifestRow
    from wsigraph.config import ModelConfig
    from wsigraph.model.bundle import ModelBundle
    from wsigraph.model.card import About
    from wsigraph.run.slide_run import Progress
    from wsigraph.training.cross_validate import Design
    from wsigraph.training.dataset import Cohort
    from wsigraph.training.ensemble import Ensemble

_log = logging.getLogger(__name__)
_N_NAMED = 10
"""Slides without a graph that a warning names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """Result of `train`.

    Attributes
    ----------
    ensemble : Ensemble
        The model, with one member per fold, and its held-out predictions.
    over_repeats : dict of str to dict of str to float
        Mean and standard deviation (``mean``, ``sd``) of each score over repeated divisions; empty without repeats.
    """

    ensemble: Ensemble
    over_repeats: dict[str, dict[str, float]] = field(default_factory=dict)


def train(
    manifest: Path | str,
    graphs: Path | str,
    out: Path | str,
    config: Config | None = None,
    *,
    endpoint: Endpoint | None = None,
    n_folds: int = 5,
    n_repeats: int = 1,
    group: Literal["patient", "site"] = "patient",
    seed: int = 1,
    workers: int = 0,
    device: str | None = None,
    tries: Sequence[str] = (),
    splits: str | None = None,
    allow_missing: bool = False,
    restart: bool = False,
    force: bool = False,
    organ: str = "",
    inclusion: str = "",
    progress: Progress | None = None,
) -> TrainResult:
    """Train a cross-validated ensemble on a cohort and write it as a model directory.

    Every patient is predicted by the network that was not trained on that patient. Rows whose split is ``test`` are
    not used. A training that was stopped continues from its checkpoints if it is called again with the same arguments.

    Parameters
    ----------
    manifest : Path or str
        Table of slides, patients and outcomes (``data_manifest.md``).
    graphs : Path or str
        Directory that holds ``<slide_id>/coarse.safetensors`` or ``<slide_id>/graph.safetensors`` of every slide.
    out : Path or str
        Directory of the model.
    config : Config, optional
        Settings; the sections ``model``, ``coarsening`` and ``explanation`` are used. By default the built-in ones.
    endpoint : Endpoint, optional
        Columns of follow-up and event; ``time_days`` and ``event`` where left out. Hazards are cause-specific: a
        competing event counts as censored.
    n_folds : int
        Number of folds, at least 2; each is held out once.
    n_repeats : int
        Number of divisions into folds to score. The model is that of the first.
    group : str
        What a fold keeps together: ``patient`` or ``site``.
    seed : int
        Seed of the folds, the initial weights and all other random choices.
    workers : int
        Number of processes, one fold each; 0 takes one for every allowed core.
    device : str, optional
        Where the networks are trained; ``runtime.device`` of the settings where left out.
    tries : sequence of str
        Further model settings to choose from, each as ``"key=value"``, such as ``"layers=2"``.
    splits : str, optional
        Table of folds in place of drawn ones (`wsigraph.cohort.manifest.fold_table.read_folds`).
    allow_missing : bool
        Whether to leave out slides without a graph, with a warning, instead of failing.
    restart : bool
        Whether to discard what `out` holds of other settings or data, instead of failing.
    force : bool
        Whether to train on a cohort that is too small to be scored, with a mark on the card, instead of failing, and
        on graphs of slides that are no H&E sections, which are left out otherwise.
    organ, inclusion : str
        For the card: organ of the slides, and what was included, as "a proven carcinoma". `predict` says what a model
        assumes, and compares the organ.
    progress : callable, optional
        Called with (what, done, total) for graphs read, folds and epochs.

    Returns
    -------
    TrainResult
        The ensemble, whose card holds the held-out scores.

    Raises
    ------
    CohortError
        If the manifest has faults, a slide has no graph, the folds cannot be formed, or the cohort is too small:
        fewer than 20 events, 5 patients of a stage or 2 events of a fold.
    ConfigError
        If an element of `tries` is no model setting, or this machine has no such device.
    ModelError
        If a fold cannot be fitted.
    StoreError
        If a graph is damaged or the directory cannot be written.

    Notes
    -----
    Warnings are logged to the logger ``wsigraph``.
    """
    from wsigraph.cohort.manifest.fold_table import read_folds
    from wsigraph.cohort.manifest.manifest import read_manifest
    from wsigraph.cohort.manifest.manifest_row import patient_digest
    from wsigraph.graph.device import find_device
    from wsigraph.training.cross_validate import Design, cross_validate, refuse_finished, start_over, study_identity
    from wsigraph.training.load_cohort import find_forced, load_cohort, shared_inputs
    from wsigraph.training.repeats import score_repeats
    from wsigraph.training.tries import cohort_key, note_tries

    settings = config or Config()
    device = find_device(device or settings.runtime.device)
    manifest, graphs, out = Path(manifest), Path(graphs), Path(out)
    names = settings.model.stage_names
    table = read_manifest(manifest, stage_names=names, check_files=False)
    endpoint = endpoint or Endpoint()
    chosen = with_endpoint(table.rows, endpoint)
    for text in (*table.warnings, *chosen.warnings):
        _log.warning(text)
    given = None if splits is None else read_folds(splits, chosen.rows)
    rows = _training_rows(chosen.rows if given is None else given.rows, graphs, allow_missing)
    forced = find_forced(rows, graphs)
    rows = _without_forced(rows, forced, force)
    configurations = _configurations(settings, tries)
    fold_of = None if given is None else given.fold_of
    if fold_of is not None:
        n_folds = max(fold_of.values()) + 1
    design = Design(n_folds=n_folds, group=group, seed=seed, workers=workers, device=device, fold_of=fold_of)
    how = partial(load_cohort, coarsening=settings.coarsening, model=shared_inputs(configurations))
    cohort = how(rows, graphs, stage_names=names, progress=progress)
    configurations = cohort.settled(configurations)
    shortages = _shortages(cohort, settings.model, design, force)
    if forced and force:
        shortages.append(f"{len(forced)} slides that are no H&E sections: {_names(forced)}")
    if restart:
        start_over(out)
    else:
        refuse_finished(out, study_identity(cohort, configurations, design))
    note_tries(graphs, cohort_key(patient_digest(name) for name in cohort.patient), configurations)
    ensemble = cross_validate(
        cohort,
        configurations,
        out,
        design=design,
        about=replace(
            _about(out, manifest, rows, shortages, endpoint), organ=organ.strip(), inclusion=inclusion.strip()
        ),
        sources={
            "manifest": str(manifest.absolute()),
            "graphs": str(graphs.absolute()),
            **({} if endpoint.is_default else {"endpoint": asdict(endpoint)}),
        },
        on_finished=partial(_write_reference, cohort, out, settings, seed),
        keep_checkpoints=n_repeats > 1,
        progress=progress,
    )
    _write_splits(cohort, rows, design, out, names)
    if n_repeats < 2:
        return TrainResult(ensemble=ensemble)
    scores = score_repeats(ensemble, cohort, configurations, out, design=design, n_repeats=n_repeats, progress=progress)
    return TrainResult(ensemble=ensemble, over_repeats=scores["over_repeats"])


def _write_splits(
    cohort: Cohort, rows: Sequence[ManifestRow], design: Design, out: Path, stage_names: Sequence[str]
) -> None:
    """Write the folds of a model as a table beside it."""
    from wsigraph.cohort.manifest.fold_table import SPLITS, encode_folds
    from wsigraph.store.atomic import write_file
    from wsigraph.training.cross_validate import assign_folds

    folds = assign_folds(cohort, design)[0].tolist()
    fold_of = dict(zip(cohort.patient.tolist(), folds, strict=True))
    write_file(out / SPLITS, encode_folds(rows, fold_of, stage_names=stage_names))


def _shortages(cohort: Cohort, model: ModelConfig, design: Design, force: bool) -> list[str]:
    """Return what the cohort has too few of; raise an error if there is anything, unless the user insists."""
    from wsigraph.training.cross_validate import assign_folds
    from wsigraph.training.small_cohort import refuse_small_cohort, small_cohort_problems

    problems = small_cohort_problems(cohort, assign_folds(cohort, design)[0], model)
    if not force:
        refuse_small_cohort(problems)
    for text in problems:
        _log.warning("trained all the same: %s", text)
    return problems


def _write_reference(cohort: Cohort, out: Path, settings: Config, seed: int, bundle: ModelBundle) -> Path:
    from wsigraph.explanation.fit_reference import write_reference

    return write_reference(cohort, bundle, out, settings.explanation, seed=seed)


def _training_rows(rows: Sequence[ManifestRow], graphs: Path, allow_missing: bool) -> list[ManifestRow]:
    """Return the rows to train on: not those of the test split, nor, if allowed, those without a graph."""
    from wsigraph.training.load_cohort import find_missing

    training = [row for row in rows if row.split != "test"]
    if len(training) < len(rows):
        _log.warning("%d slides of split 'test' are left alone", len(rows) - len(training))
    if not allow_missing:
        return training
    missing = find_missing(training, graphs)
    if missing:
        _log.warning("%d slides have no graph and are left out: %s", len(missing), _names(missing))
    absent = {row.slide_id for row in missing}
    return [row for row in training if row.slide_id not in absent]


def _without_forced(rows: list[ManifestRow], forced: Sequence[ManifestRow], force: bool) -> list[ManifestRow]:
    """Return the rows without those of slides that are no H&E sections, with a warning; all of them with `force`."""
    if not forced:
        return rows
    kept = "trained on all the same" if force else "left out; --force trains on them"
    _log.warning("%d slides are no H&E sections and were forced: %s; %s", len(forced), _names(forced), kept)
    names = set() if force else {row.slide_id for row in forced}
    return [row for row in rows if row.slide_id not in names]


def _names(rows: Sequence[ManifestRow]) -> str:
    """Return the names of the first slides."""
    return ", ".join(sorted(row.slide_id for row in rows)[:_N_NAMED])


def _configurations(settings: Config, tries: Sequence[str]) -> list[ModelConfig]:
    """Return the model settings to choose from: those given, and one more for each try."""
    given = json.loads(settings.model.model_dump_json())
    base = [f"model.{key}={json.dumps(value)}" for key, value in given.items()]
    return [settings.model, *(load([], [*base, f"model.{text}"]).model for text in tries)]


def _about(
    out: Path, manifest: Path, rows: Sequence[ManifestRow], shortages: Sequence[str], endpoint: Endpoint
) -> About:
    """Return what the model's card says of its training."""
    from wsigraph.model.card import About

    simulated = bool(rows) and all(row.slide_id.startswith("synthetic") for row in rows)
    tissue = "simulated tissue graphs" if simulated else "tissue graphs"
    return About(
        name=out.resolve().name,
        description=f"Ensemble of folds over {tissue}, trained with wsigraph train.",
        notice="for research only: not validated for any clinical use"
        + ("; trained on simulated tissue, its numbers have no medical meaning" if simulated else "")
        + ("; trained with --force, see its limits" if shortages else ""),
        licence="not stated",
        data=f"{len(rows)} slides of {manifest.name}" + ("" if endpoint.is_default else f"; endpoint {endpoint}"),
        simulated=simulated,
        limits=(
            "held-out scores hold for patients like those of the cohort; see evaluation.html for baseline models and "
            "sites",
            *(f"forced: {text.split(':')[0]}" for text in shortages),
        ),
    )
