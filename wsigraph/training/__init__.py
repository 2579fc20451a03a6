"""Training: data sets, folds, ensembles, stacking with a linear offset, cross-validation."""
