"""Tables of a paper: patients by group (table 1), and any table of results with numbers as journals print them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import chi2_contingency, kruskal

from wsigraph.cohort.statistics.external_only import refuse_in_training
from wsigraph.errors import CohortError
from wsigraph.store.atomic import write_file
from wsigraph.store.csv_file import encode_csv

if TYPE_CHECKING:
    import pandas as pd

_SUFFIXES = (".csv", ".tsv", ".md", ".html")


def print_p(value: float) -> str:
    """Return a p-value as journals print it.

    Parameters
    ----------
    value : float
        In [0, 1]; NaN where there is none.

    Returns
    -------
    str
        ``<0.001``, three digits below 0.1, else two; a dash for NaN.

    Examples
    --------
    >>> print_p(0.00002), print_p(0.0123), print_p(0.4567)
    ('<0.001', '0.012', '0.46')
    """
    if not np.isfinite(value):
        return "-"
    return "<0.001" if value < 0.001 else f"{value:.3f}" if value < 0.0995 else f"{value:.2f}"


def table_one(frame: pd.DataFrame, columns: Sequence[str], by: str | None = None) -> pd.DataFrame:
    """Return the patients of a cohort as the first table of a paper shows them.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `load`, one row per patient.
    columns : sequence of str
        Columns: numbers are described by median and quartiles, text and ordered values by counts.
    by : str, optional
        Column whose values are columns of the table, e.g. ``site``; with it, a p-value for each row.

    Returns
    -------
    pandas.DataFrame
        Text. Rows ``(column, level)``; ``all``, a column per group, and ``p``: of Kruskal and Wallis' test for numbers,
        of the chi-squared test for counts; a dash where a test is not defined. Missing values have a row of their own
        and take no part in tests.

    Raises
    ------
    CohortError
        If a column is not there, or as `wsigraph.cohort.statistics.external_only.refuse_in_training`.
    """
    refuse_in_training(frame)
    return describe_columns(frame, columns, by)


def describe_columns(frame: pd.DataFrame, columns: Sequence[str], by: str | None = None) -> pd.DataFrame:
    """Return the characteristics of the rows of any table, as `table_one` shows them.

    Parameters
    ----------
    frame : pandas.DataFrame
        One row a patient.
    columns, by
        As for `table_one`.

    Returns
    -------
    pandas.DataFrame
        As from `table_one`.

    Raises
    ------
    CohortError
        If a column is not there.
    """
    import pandas as pd

    absent = [name for name in [*columns, *([] if by is None else [by])] if name not in frame.columns]
    if absent:
        raise CohortError(f"no column {', '.join(absent)}; there are {', '.join(map(str, frame.columns))}")
    parts = {"all": frame}
    if by is not None:
        parts |= {str(name): part for name, part in frame.groupby(by, observed=True)}
    rows: dict[tuple[str, str], dict[str, str]] = {
        ("patients", ""): {name: str(len(part)) for name, part in parts.items()}
    }
    for column in columns:
        groups = [part[column].dropna() for name, part in parts.items() if name != "all"]
        if _is_number(frame[column]):
            cells = {name: _median(part[column]) for name, part in parts.items()}
            rows[column, "median (quartiles)"] = {**cells, **_p(by, lambda groups=groups: _kruskal(groups))}
        else:
            levels = _levels(frame[column])
            counts = [[int((group == level).sum()) for level in levels] for group in groups]
            chance = _p(by, lambda counts=counts: _chi_squared(counts))
            for number, level in enumerate(levels):
                cells = {name: _count(part[column], level) for name, part in parts.items()}
                rows[column, str(level)] = {**cells, **(chance if number == 0 else dict.fromkeys(chance, ""))}
        if frame[column].isna().any():
            rows[column, "missing"] = {name: str(int(part[column].isna().sum())) for name, part in parts.items()}
    table = pd.DataFrame.from_dict(rows, orient="index").fillna("")
    table.index = pd.MultiIndex.from_tuples(table.index, names=["column", "level"])
    return table


def _is_number(values: pd.Series) -> bool:
    import pandas as pd

    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def _levels(values: pd.Series) -> list[Any]:
    if hasattr(values, "cat"):
        return [level for level in values.cat.categories if (values == level).any()]
    return sorted(values.dropna().unique())


def _median(values: pd.Series) -> str:
    known = values.dropna().to_numpy(float)
    if not len(known):
        return "-"
    low, middle, high = np.quantile(known, [0.25, 0.5, 0.75])
    return f"{middle:.4g} ({low:.4g} to {high:.4g})"


def _count(values: pd.Series, level: Any) -> str:
    n, known = int((values == level).sum()), int(values.notna().sum())
    return f"{n} ({100 * n / known:.0f} %)" if known else "0"


def _p(by: str | None, test: Any) -> dict[str, str]:
    return {} if by is None else {"p": print_p(test())}


def _kruskal(groups: Sequence[pd.Series]) -> float:
    filled = [group.to_numpy(float) for group in groups if len(group)]
    if len(filled) < 2 or len(np.unique(np.concatenate(filled))) < 2:
        return float("nan")
    return float(kruskal(*filled).pvalue)


def _chi_squared(counts: Sequence[Sequence[int]]) -> float:
    table = np.array(counts, np.float64)
    table = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0] if table.size else table
    if table.ndim < 2 or min(table.shape) < 2:
        return float("nan")
    return float(chi2_contingency(table, correction=False).pvalue)


def export_table(table: pd.DataFrame, path: Path | str, *, digits: int = 3) -> Path:
    """Write a table of results as a paper has it.

    Parameters
    ----------
    table : pandas.DataFrame
        From any function of `wsigraph.cohort`. A column ``p`` is printed by `print_p`, ``low`` and ``high`` become one
        interval, e.g. ``0.612 to 0.734``.
    path : Path or str
        Ends in ``.csv``, ``.tsv``, ``.md`` or ``.html``.
    digits : int
        Digits after the point of other numbers that are not whole.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    CohortError
        If the path ends otherwise.
    StoreError
        If it cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in _SUFFIXES:
        raise CohortError(f"{path} ends in {path.suffix or 'nothing'}, expected one of {', '.join(_SUFFIXES)}")
    printed = printed_table(table, digits)
    suffix = path.suffix.lower()
    if suffix == ".md":
        text = _markdown(printed)
    elif suffix == ".html":
        text = printed.to_html(border=0)
    else:
        flat = printed.reset_index() if any(printed.index.names) else printed.reset_index(names="")
        rows = flat.itertuples(index=False)
        write_file(path, encode_csv(list(map(str, flat.columns)), rows, separator="," if suffix == ".csv" else "\t"))
        return path
    write_file(path, text.encode())
    return path


def printed_table(table: pd.DataFrame, digits: int = 3) -> pd.DataFrame:
    """Return a table as text: p-values by `print_p`, intervals in one column, other numbers with some digits."""
    import pandas as pd

    columns: dict[str, list[str]] = {}
    for name in table.columns:
        if name == "high" and "low" in table.columns:
            continue
        if name == "low" and "high" in table.columns:
            ends = zip(table["low"].tolist(), table["high"].tolist(), strict=True)
            columns["95 % interval"] = [
                "-" if pd.isna(low) else f"{_number(low, digits)} to {_number(high, digits)}" for low, high in ends
            ]
        elif name == "p":
            columns["p"] = [value if isinstance(value, str) else print_p(value) for value in table["p"].tolist()]
        else:
            columns[str(name)] = [_number(value, digits) for value in table[name].tolist()]
    return pd.DataFrame(columns, index=table.index)


def _number(value: Any, digits: int) -> str:
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return "-"
    if isinstance(value, float):
        return f"{value:.{digits}f}"
    return str(value)


def _markdown(table: pd.DataFrame) -> str:
    """Return a table in Markdown; pandas' own needs another package."""
    flat = table.reset_index()
    head = [str(name) if name != "index" else "" for name in flat.columns]
    lines = [head, ["---"] * len(head), *([str(cell) for cell in row] for row in flat.itertuples(index=False))]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)
