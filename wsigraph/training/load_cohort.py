"""Load a cohort for training from a manifest and a directory of graphs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wsigraph.cohort.manifest.manifest import ManifestRow
from wsigraph.config import CoarseningConfig, ModelConfig
from wsigraph.errors import CohortError, ConfigError
from wsigraph.graph.tissue.suitability import find_marks
from wsigraph.model.columns import NodeColumns
from wsigraph.store import load_coarse_graph, load_graph, load_slide_info
from wsigraph.store.tensors import read_fields
from wsigraph.training.dataset import Cohort, Example, collect, join_patients

if TYPE_CHECKING:
    from wsigraph.graph.coarsening.embed import Embedding
    from wsigraph.records import CoarseGraph, TissueGraph
    from wsigraph.slide.map_boxes import Progress

_COARSE, _SUPERPIXELS, _INFO = "coarse.safetensors", "graph.safetensors", "slide.json"
_MAX_EXAMPLES = 10


def find_missing(rows: Iterable[ManifestRow], graphs: Path) -> list[ManifestRow]:
    """Return the rows without a graph in a directory."""
    return [
        row for row in rows if not any((graphs / row.slide_id / name).is_file() for name in (_COARSE, _SUPERPIXELS))
    ]


def find_forced(rows: Iterable[ManifestRow], graphs: Path) -> list[ManifestRow]:
    """Return the rows whose slide is no H&E section and was used all the same, as its graph or slide.json says.

    Raises
    ------
    StoreError
        If a graph or slide.json is damaged.
    """
    return [row for row in rows if _is_forced(graphs / row.slide_id)]


def _is_forced(directory: Path) -> bool:
    info = directory / _INFO
    if info.is_file() and find_marks(load_slide_info(info).warnings):
        return True
    stored = [directory / name for name in (_COARSE, _SUPERPIXELS) if (directory / name).is_file()]
    return any(read_fields(path).get("mark") for path in stored)


def load_cohort(
    rows: Sequence[ManifestRow],
    graphs: Path | str,
    *,
    stage_names: tuple[str, ...],
    coarsening: CoarseningConfig | None = None,
    uncoarsened: bool = False,
    model: ModelConfig | None = None,
    progress: Progress | None = None,
) -> Cohort:
    """Return the cohort of some rows of a manifest, one row a patient.

    Parameters
    ----------
    rows : sequence of ManifestRow
        Slides; each needs a graph.
    graphs : Path or str
        Directory with ``<slide_id>/coarse.safetensors`` or ``<slide_id>/graph.safetensors`` for each slide.
    stage_names : tuple of str
        The K stages.
    coarsening : CoarseningConfig, optional
        Settings for graphs that are not coarsened yet.
    uncoarsened : bool
        Load superpixel graphs; a slide that has only a coarse graph is then an error.
    model : ModelConfig, optional
        Decides the node features and whether the coarsening is trained, in which case superpixel graphs are coarsened
        here and kept. Where left out: interpretable features, and coarse graphs as they are.
    progress : callable, optional
        Called with ``("load", slides done, slides)``.

    Returns
    -------
    Cohort
        Patients in the order of their first slide (see `join_patients` for several slides of one). A follow-up of 0
        days counts as unknown.

    Raises
    ------
    CohortError
        If a graph is missing, two slides of different patients have the same bytes, or slides of a patient differ.
    ModelError
        If the graphs differ in schema or coarsening, or follow-up is not a number.
    StoreError
        If a graph is damaged.
    """
    directory = Path(graphs)
    learned = coarsening_to_train(coarsening, model) if not uncoarsened else None
    needs_superpixels = uncoarsened or learned is not None
    lacking = [row for row in rows if needs_superpixels and not (directory / row.slide_id / _SUPERPIXELS).is_file()]
    missing = lacking or find_missing(rows, directory)
    if missing:
        examples_text = ", ".join(f"{row.slide_id} (line {row.line})" for row in missing[:_MAX_EXAMPLES])
        more = f" and {len(missing) - _MAX_EXAMPLES} more" if len(missing) > _MAX_EXAMPLES else ""
        raise CohortError(
            f"{len(missing)} of {len(rows)} slides have no graph under {directory}: {examples_text}{more}; "
            "build them with wsigraph graph or wsigraph run, name another --graphs, or leave them out with "
            "--allow-missing"
        )

    def examples() -> Iterable[Example]:
        for done, row in enumerate(rows, start=1):
            yield _example(row, directory / row.slide_id, stage_names, coarsening, needs_superpixels)
            if progress is not None:
                progress("load", done, len(rows))

    columns = None if model is None else NodeColumns.of(model)
    return join_patients(_check_duplicate_slides(collect(examples(), stage_names, columns=columns, coarsening=learned)))


def shared_inputs(configurations: Sequence[ModelConfig]) -> ModelConfig:
    """Return the settings for loading a cohort that several configurations share.

    Parameters
    ----------
    configurations : sequence of ModelConfig
        At least one.

    Returns
    -------
    ModelConfig
        The first, with ``train_coarsening`` true where it is in any of them.

    Raises
    ------
    ConfigError
        If their node features differ.
    """
    first = configurations[0]
    choices = {(config.inputs, config.encoding_dimensions) for config in configurations}
    if len(choices) > 1:
        shown = ", ".join(f"{inputs} in {width} dimensions" for inputs, width in sorted(choices))
        raise ConfigError(
            f"configurations have inputs {shown}; expected one model.inputs and model.encoding_dimensions; train them "
            "separately"
        )
    return first.model_copy(update={"train_coarsening": any(config.train_coarsening for config in configurations)})


def coarsening_to_train(
    coarsening: CoarseningConfig | None, model: ModelConfig | None
) -> tuple[CoarseningConfig, Embedding] | None:
    """Return settings and embedding for the initial coarsening of a cohort whose coarsening is trained.

    Parameters
    ----------
    coarsening : CoarseningConfig, optional
        Settings; the defaults where left out.
    model : ModelConfig, optional
        Decides whether the coarsening is trained.

    Returns
    -------
    (CoarseningConfig, Embedding) or None
        Settings without a path, and the embedding they name; None where the coarsening is not trained.

    Raises
    ------
    ConfigError
        If merging uses an encoder's features, for which there is no embedding to train.
    ModelError
        If the embedding's weights cannot be read.
    """
    from wsigraph.graph.coarsening.embed import load_embedding

    if model is None or not model.train_coarsening:
        return None
    settings = coarsening or CoarseningConfig()
    if settings.space == "encoding":
        raise ConfigError(
            "coarsening.space is encoding and model.train_coarsening is true; an encoder's features have no weights to "
            "train; set coarsening.space to features, or model.train_coarsening to false"
        )
    return settings.model_copy(update={"weights": None, "space": "features"}), load_embedding(settings.weights)


def _example(
    row: ManifestRow,
    directory: Path,
    stage_names: tuple[str, ...],
    coarsening: CoarseningConfig | None,
    uncoarsened: bool,
) -> Example:
    grade = {"grade": row.grade} if row.grade else {}
    return Example(
        graph=_graph(directory, coarsening, uncoarsened),
        patient=row.patient_id,
        stage=None if row.stage is None else stage_names.index(row.stage),
        time_days=row.follow_up_days,
        event=bool(row.event) and row.follow_up_days is not None,
        site=row.site,
        sha256=_bytes_digest(row, directory),
        covariates={**row.free, **grade},
    )


def _graph(directory: Path, coarsening: CoarseningConfig | None, uncoarsened: bool) -> CoarseGraph | TissueGraph:
    from wsigraph.graph.coarsening.coarsen import coarsen

    if uncoarsened:
        return load_graph(directory / _SUPERPIXELS)
    if (directory / _COARSE).is_file():
        return load_coarse_graph(directory / _COARSE)
    return coarsen(load_graph(directory / _SUPERPIXELS), coarsening)


def _bytes_digest(row: ManifestRow, directory: Path) -> str:
    """Return the SHA-256 of the slide's bytes, or of its graph file where the slide is unknown."""
    if row.sha256:
        return row.sha256
    if (directory / _INFO).is_file():
        return load_slide_info(directory / _INFO).sha256
    source = directory / (_SUPERPIXELS if (directory / _SUPERPIXELS).is_file() else _COARSE)
    return hashlib.sha256(source.read_bytes()).hexdigest()


def _check_duplicate_slides(cohort: Cohort) -> Cohort:
    """Raise an error if two patients have a slide with the same bytes, which would leak between folds."""
    owner: dict[str, str] = {}
    for patient, slides in zip(cohort.patient.tolist(), cohort.slides, strict=True):
        for sha256 in slides:
            if owner.setdefault(sha256, patient) != patient:
                raise CohortError(
                    f"patients {owner[sha256]!r} and {patient!r} have a slide of the same bytes (digest "
                    f"{sha256[:12]}), expected different slides; correct the manifest"
                )
    return cohort
