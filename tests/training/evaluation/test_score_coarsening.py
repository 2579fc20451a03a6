"""The recipe that holds one network on superpixels against the same on regions."""

from __future__ import annotations

from pipelines.score_coarsening import ARMS, carry_out

OPTIONS = {
    "scenario": "composition",
    "train": 16,
    "fresh": 6,
    "folds": 2,
    "seed": 1,
    "overrides": [
        "coarsening.ratio=10",
        "synthesis.sites=1",
        "synthesis.library_side=3",
        "synthesis.min_side=4",
        "synthesis.max_side=4",
        "model.layers=1",
        "model.heads=1",
        "model.channels=4",
        "model.epochs=2",
        "model.time_intervals=3",
    ],
}


def test_every_arm_answers_for_the_same_patients() -> None:
    found = [carry_out(arm, OPTIONS) for arm in ARMS]
    superpixels, without, by_task = (facts["mean_nodes"] for _, _, facts in found)
    assert superpixels > 9.5 * without
    assert by_task == without
    for answers, outcome, facts in found:
        assert len(answers.risk) == len(outcome["stage"]) == 6
        assert outcome["time_days"].tolist() == found[0][1]["time_days"].tolist()
        assert facts["train_cpu_seconds"] >= 0
        assert len(facts["epochs"]) == 2
