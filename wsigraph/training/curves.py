"""Loss curves of training, as a table and as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsigraph.store.atomic import write_file

LOSS_FILES = ("losses.csv", "losses.png")
"""Table and picture of the losses of every epoch."""


def write_losses(
    histories: Sequence[NDArray[np.float64]], best: Sequence[int], directory: Path | str
) -> tuple[Path, Path]:
    """Write ``losses.csv`` and ``losses.png``.

    Parameters
    ----------
    histories : sequence of float64 (epochs, 2)
        Training and validation loss of every epoch of every fold.
    best : sequence of int
        Epoch of the stored weights, from 1.
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
    lines = ["fold,epoch,training,validation,best"]
    for fold, (history, best_epoch) in enumerate(zip(histories, best, strict=True)):
        lines += [
            f"{fold},{epoch},{training!r},{validation!r},{int(epoch == best_epoch)}"
            for epoch, (training, validation) in enumerate(history.tolist(), start=1)
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
    for fold, (history, best_epoch) in enumerate(zip(histories, best, strict=True)):
        epochs = np.arange(1, len(history) + 1)
        colour = f"C{fold % 10}"
        axes.plot(epochs, history[:, 0], color=colour, alpha=0.45, linewidth=1.0)
        axes.plot(epochs, history[:, 1], color=colour, linewidth=1.8, label=f"fold {fold}")
        # an offset alone has no epochs
        if best_epoch:
            axes.plot(best_epoch, history[best_epoch - 1, 1], "o", color=colour, markersize=5)
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss (thin: training, thick: validation, dot: best)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()
