"""Scores of a model's out-of-fold predictions, next to baseline models fitted in the same folds."""
