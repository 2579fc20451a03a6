"""A manifest and a directory of graphs become a cohort to learn from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wsigraph.cohort.manifest.manifest import ManifestRow
from wsigraph.config import CoarseningConfig, ModelConfig
from wsigraph.errors import CohortError, ConfigError
from wsigraph.model.columns import NodeColumns
from wsigraph.store import load_coarse_graph, load_graph, load_slide_info
from wsigraph.training.dataset import Cohort, Example, collect, join_patients

if TYPE_CHECKING:
    from wsigraph.graph.coarsening.embed import Embedding
    from wsigraph.records import CoarseGraph, TissueGraph
    from wsigraph.slide.map_boxes import Progress

_COARSE, _FINE, _INFO = "coarse.safetensors", "graph.safetensors", "slide.json"
_NAMED = 10


def find_missing(rows: Iterable[ManifestRow], graphs: Path) -> list[ManifestRow]:
    """Return the rows that have no graph under a directory."""
    return [row for row in rows if not any((graphs / row.slide_id / name).is_file() for name in (_COARSE, _FINE))]


def gather(
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
        Directory that holds ``<slide_id>/coarse.safetensors`` or ``<slide_id>/graph.safetensors`` of each.
    stage_names : tuple of str
        The K stages.
    coarsening : CoarseningConfig, optional
        How graphs that are not coarsened yet are coarsened.
    uncoarsened : bool
        Take the graphs before coarsening; a slide that has only a coarse graph is then an error.
    model : ModelConfig, optional
        Says what is read of a region, and whether the coarsening is to be trained: then superpixel graphs are coarsened
        here and kept. Interpretable features and coarse graphs as they are where left out.
    progress : callable, optional
        Told ``("gather", slides done, slides)``.

    Returns
    -------
    Cohort
        Patients in the order of their first slide (see `join_patients` for several slides of one).

    Raises
    ------
    CohortError
        If a graph is missing, two slides of different patients have the same bytes, or slides of a patient differ.
    ModelError
        If the graphs differ in schema or coarsening, or follow-up is not a number above 0.
    StoreError
        If a graph is damaged.
    """
    directory = Path(graphs)
    learned = coarsening_to_train(coarsening, model) if not uncoarsened else None
    fine_alone = uncoarsened or learned is not None
    wanted = [row for row in rows if fine_alone and not (directory / row.slide_id / _FINE).is_file()]
    missing = wanted or find_missing(rows, directory)
    if missing:
        named = ", ".join(f"{row.slide_id} (line {row.line})" for row in missing[:_NAMED])
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise CohortError(
            f"{len(missing)} of {len(rows)} slides have no graph under {directory}: {named}{more}; "
            "build them with wsigraph graph or wsigraph run, name another --graphs, or leave them out with "
            "--allow-missing"
        )

    def examples() -> Iterable[Example]:
        for done, row in enumerate(rows, start=1):
            yield _example(row, directory / row.slide_id, stage_names, coarsening, fine_alone)
            if progress is not None:
                progress("gather", done, len(rows))

    columns = None if model is None else NodeColumns.of(model)
    return join_patients(_refuse_twins(collect(examples(), stage_names, columns=columns, coarsening=learned)))


def shared_inputs(configurations: Sequence[ModelConfig]) -> ModelConfig:
    """Return the settings by which a cohort is gathered that serves several configurations.

    Parameters
    ----------
    configurations : sequence of ModelConfig
        At least one.

    Returns
    -------
    ModelConfig
        The first, with superpixel graphs kept where any of them trains the coarsening.

    Raises
    ------
    ConfigError
        If they read different inputs.
    """
    first = configurations[0]
    readings = {(each.inputs, each.encoding_dimensions) for each in configurations}
    if len(readings) > 1:
        met = ", ".join(f"{inputs} in {width} dimensions" for inputs, width in sorted(readings))
        raise ConfigError(
            f"configurations read {met}; expected one model.inputs and model.encoding_dimensions; train them apart"
        )
    return first.model_copy(update={"train_coarsening": any(each.train_coarsening for each in configurations)})


def coarsening_to_train(
    coarsening: CoarseningConfig | None, model: ModelConfig | None
) -> tuple[CoarseningConfig, Embedding] | None:
    """Return how a cohort is coarsened before its coarsening is trained; None where it is not to be trained.

    Parameters
    ----------
    coarsening : CoarseningConfig, optional
        Settings; the defaults where left out.
    model : ModelConfig, optional
        Says whether the coarsening is trained.

    Returns
    -------
    (CoarseningConfig, Embedding) or None
        Settings without a path, and the embedding they name.

    Raises
    ------
    ConfigError
        If an encoder's features are to decide the merging, which no embedding learns.
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
        time_days=row.time_days if row.event is not None else None,
        event=bool(row.event) and row.time_days is not None,
        site=row.site,
        sha256=_bytes_digest(row, directory),
        covariates={**row.free, **grade},
    )


def _graph(directory: Path, coarsening: CoarseningConfig | None, uncoarsened: bool) -> CoarseGraph | TissueGraph:
    from wsigraph.graph.coarsening.coarsen import coarsen

    if uncoarsened:
        return load_graph(directory / _FINE)
    if (directory / _COARSE).is_file():
        return load_coarse_graph(directory / _COARSE)
    return coarsen(load_graph(directory / _FINE), coarsening)


def _bytes_digest(row: ManifestRow, directory: Path) -> str:
    """Return the digest of the slide's bytes; of its graph where the slide itself is not known."""
    if row.sha256:
        return row.sha256
    if (directory / _INFO).is_file():
        return load_slide_info(directory / _INFO).sha256
    source = directory / (_FINE if (directory / _FINE).is_file() else _COARSE)
    return hashlib.sha256(source.read_bytes()).hexdigest()


def _refuse_twins(cohort: Cohort) -> Cohort:
    """Refuse slides of the same bytes under two patients: they would be in training and in the test."""
    owner: dict[str, str] = {}
    for patient, slides in zip(cohort.patient.tolist(), cohort.slides, strict=True):
        for each in slides:
            if owner.setdefault(each, patient) != patient:
                raise CohortError(
                    f"patients {owner[each]!r} and {patient!r} have a slide of the same bytes (digest {each[:12]}), "
                    "expected different slides; correct the manifest"
                )
    return cohort
