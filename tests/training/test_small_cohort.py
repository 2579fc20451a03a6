from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from wsigraph.config import ModelConfig
from wsigraph.errors import CohortError
from wsigraph.training.small_cohort import refuse_small_cohort, small_cohort_problems
from wsigraph.training.tries import cohort_key, count_tries, note_tries


def outcomes(n: int, n_events: int, stages: list[int]) -> Any:
    """Return the outcomes of a cohort, without graphs."""
    return SimpleNamespace(event=np.arange(n) < n_events, stage=np.resize(np.array(stages), n))


FOLD = np.arange(60) % 5


def test_a_cohort_of_enough_events_and_stages_is_trained_on() -> None:
    assert small_cohort_problems(outcomes(60, 20, [0, 1, 2, 3]), FOLD, ModelConfig()) == []


def test_every_shortage_is_named_with_what_to_do() -> None:
    problems = small_cohort_problems(outcomes(60, 19, [0, 1, 2]), FOLD, ModelConfig())
    assert [text.split(":")[0] for text in problems] == [
        "19 events, expected 20 or more",
        "stages with fewer than 5 patients",
    ]
    assert "IV (0)" in problems[1]
    with pytest.raises(CohortError, match=r"19 events.*add patients.*--force"):
        refuse_small_cohort(problems)
    refuse_small_cohort([])


def test_a_fold_without_two_events_stops_as_well() -> None:
    lopsided = np.where(np.arange(60) < 25, np.arange(60) % 4, 4)
    problems = small_cohort_problems(outcomes(60, 24, [0, 1, 2, 3]), lopsided, ModelConfig())
    assert len(problems) == 1
    assert problems[0].startswith("fold 4 has 0 events, expected 2 or more: give fewer --folds")


@pytest.mark.parametrize(("task", "words"), [("stage", "stages with"), ("survival", "3 events")])
def test_only_what_is_predicted_is_counted(task: str, words: str) -> None:
    config = ModelConfig().model_copy(update={"task": task})
    problems = small_cohort_problems(outcomes(60, 3, [0]), FOLD, config)
    assert problems[0].startswith(words)
    assert all(("stages" in text) == (task == "stage") for text in problems)


def test_every_setting_tried_on_a_cohort_counts_once(tmp_path: Path) -> None:
    cohort, other = cohort_key(["b", "a"]), cohort_key(["a"])
    assert cohort == cohort_key(["a", "b"])
    wide = ModelConfig().model_copy(update={"channels": 64})
    assert note_tries(tmp_path, cohort, [ModelConfig()]) == 1
    assert note_tries(tmp_path, cohort, [ModelConfig()]) == 1
    assert note_tries(tmp_path, cohort, [wide, ModelConfig()]) == 2
    assert count_tries(tmp_path, other) == 0


def test_a_directory_that_cannot_be_written_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "tries").write_text("a file where the directory belongs")
    assert note_tries(tmp_path, cohort_key(["a"]), [ModelConfig()]) == 0
    assert "not counted as tried" in caplog.text
