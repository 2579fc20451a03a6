"""Tables of a study as CSV and Excel, and its figures as SVG and PNG, for a paper."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsigraph.errors import CohortError
from wsigraph.store.atomic import write_file
from wsigraph.store.csv_file import encode_csv, plain_cell

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

TABLES, FIGURES = "tables", "figures"
"""Folders in the directory of a study."""
_EXCEL = "tables.xlsx"
_DPI = 200
_YEAR_DAYS = 365

Table = tuple[Sequence[str], Sequence[Sequence[object]]]


def write_tables(document: Mapping[str, Any], directory: Path) -> dict[str, list[str]]:
    """Write every table as CSV, all of them as one Excel file, and the figures.

    Parameters
    ----------
    document : mapping
        From `wsigraph.run.study.study_document.build_document`.
    directory : Path
        Directory of the study.

    Returns
    -------
    dict of str to list of str
        Paths below `directory`: ``tables`` and ``figures``.

    Raises
    ------
    StoreError
        If a file cannot be written.
    """
    tables = _tables(document)
    written = []
    for name, (header, rows) in tables.items():
        path = Path(TABLES) / f"{name}.csv"
        write_file(directory / path, encode_csv(header, rows))
        written.append(path.as_posix())
    write_file(directory / TABLES / _EXCEL, _workbook(tables))
    figures = [] if document["evaluation"] is None else _figures(directory)
    return {"tables": [*written, f"{TABLES}/{_EXCEL}"], "figures": figures}


def _tables(document: Mapping[str, Any]) -> dict[str, Table]:
    """Return the tables of a study by the stem of their files."""
    tables: dict[str, Table] = {
        "table_1": (
            ("characteristic", "level", "value"),
            [(row["characteristic"], row["level"], row["value"]) for row in document["table_one"]],
        ),
        "left_out": (
            ("kind", "name", "group", "reason"),
            [(one["kind"], one["name"], one["group"], one["reason"]) for one in document["left_out"]],
        ),
    }
    if document["sites"]:
        header = ["site", "patients", "events"]
        header += [f"{score}{end}" for score in _SITE_SCORES for end in ("", "_low", "_high")]
        tables["sites"] = (tuple(header), [_site_row(site) for site in document["sites"]])
    if document["evaluation"]:
        tables["scores"] = (("model", "outcome", "score", "value", "low", "high"), _scores(document["evaluation"]))
    return tables


def _site_row(site: Mapping[str, Any]) -> tuple[object, ...]:
    scores = [site.get(name) or {} for name in _SITE_SCORES]
    ends = [score.get(end) for score in scores for end in ("value", "low", "high")]
    return (site["site"], site["patients"], site["events"], *ends)


_SITE_SCORES = ("c_index", "stage_auc")


def _scores(evaluation: Mapping[str, Any]) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    models = {"this model": evaluation, **evaluation["baselines"]}
    for model, parts in models.items():
        for part in ("survival", "stage"):
            for name, score in (parts.get(part) or {}).items():
                if isinstance(score, Mapping) and score.get("value") is not None:
                    rows.append((model, part, name, score["value"], score.get("low"), score.get("high")))
    return rows


def _workbook(tables: Mapping[str, Table]) -> bytes:
    from openpyxl import Workbook

    book = Workbook(write_only=True)
    for name, (header, rows) in tables.items():
        sheet = book.create_sheet(name)
        sheet.append(list(header))
        for row in rows:
            sheet.append([plain_cell(cell) for cell in row])
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


def _figures(directory: Path) -> list[str]:
    """Draw survival by risk, calibration and net benefit, where the predictions allow it."""
    from matplotlib.figure import Figure

    from wsigraph.cohort import load
    from wsigraph.figures import plot_calibration, plot_decision_curve, plot_kaplan_meier, plot_stage_calibration

    frame = load(
        directory / "model", manifest=directory / "data_manifest.csv", horizons_days=(_YEAR_DAYS, 3 * _YEAR_DAYS)
    )
    drawings: dict[str, Callable[[pd.DataFrame, Axes], object]] = {
        "survival_by_risk": lambda table, ax: plot_kaplan_meier(table, ax=ax),
        "calibration": lambda table, ax: plot_calibration(table, [_YEAR_DAYS], ax=ax),
        "decision_curve": lambda table, ax: plot_decision_curve(table, _YEAR_DAYS, ax=ax),
        "stage_calibration": lambda table, ax: plot_stage_calibration(table, ax=ax),
    }
    written = []
    for name, draw in drawings.items():
        figure = Figure(figsize=(5.4, 4.2), layout="constrained")
        try:
            draw(frame, figure.subplots())
        except CohortError:
            # this outcome is not predicted, or too few patients were followed as long
            continue
        for suffix in ("svg", "png"):
            content = io.BytesIO()
            # without a date, so that equal results give equal bytes
            figure.savefig(content, format=suffix, dpi=_DPI, metadata={"Date": None} if suffix == "svg" else None)
            path = Path(FIGURES) / f"{name}.{suffix}"
            write_file(directory / path, content.getvalue())
            written.append(path.as_posix())
    return written
