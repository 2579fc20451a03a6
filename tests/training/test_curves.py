"""The picture of the losses of all folds, also of folds that have none."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wsigraph.training.curves import write_losses


def test_a_fold_without_epochs_is_drawn_without_a_best_one(tmp_path: Path) -> None:
    """An offset alone, or a correction that earned nothing, has no epochs."""
    table, picture = write_losses([np.zeros((0, 2)), np.array([[1.0, 2.0], [0.5, 1.5]])], [0, 2], tmp_path)
    assert table.read_text(encoding="utf-8").splitlines()[1:] == ["1,1,1.0,2.0,0", "1,2,0.5,1.5,1"]
    assert picture.read_bytes().startswith(b"\x89PNG")
