"""Losses of training, as a table and as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsigraph.store.atomic import write_file

LOSS_FILES = ("losses.csv", "losses.png")
"""Every loss of every pass, and what they look like."""


def write_losses(
    histories: Sequence[NDArray[np.float64]], best: Sequence[int], directory: Path | str
) -> tuple[Path, Path]:
    """Write ``losses.csv`` and ``losses.png``.

    Parameters
    ----------
    histories : sequence of float64 (passes, 2)
        Training and validation loss of every pass of every fold.
    best : sequence of int
        Pass whose weights were taken, from 1.
    directory : Path or str
        Where to write.

    Returns
    -------
    csv, png : Path
        The files; equal losses give an equal table.

    Raises
    ------
    StoreError
        If a file cannot be written.
    """
    table, picture = (Path(directory) / name for name in LOSS_FILES)
    lines = ["fold,pass,training,validation,taken"]
    for fold, (history, taken) in enumerate(zip(histories, best, strict=True)):
        lines += [
            f"{fold},{number},{inner!r},{outer!r},{int(number == taken)}"
            for number, (inner, outer) in enumerate(history.tolist(), start=1)
        ]
    write_file(table, ("\n".join(lines) + "\n").encode())
    write_file(picture, _draw(histories, best))
    return table, picture


def _draw(histories: Sequence[NDArray[np.float64]], best: Sequence[int]) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.2), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for fold, (history, taken) in enumerate(zip(histories, best, strict=True)):
        passes = np.arange(1, len(history) + 1)
        colour = f"C{fold % 10}"
        axes.plot(passes, history[:, 0], color=colour, alpha=0.45, linewidth=1.0)
        axes.plot(passes, history[:, 1], color=colour, linewidth=1.8, label=f"fold {fold}")
        axes.plot(taken, history[taken - 1, 1], "o", color=colour, markersize=5)
    axes.set_xlabel("pass")
    axes.set_ylabel("loss (thin: training, thick: validation, dot: taken)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()
