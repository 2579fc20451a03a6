"""The table of slides and patients: created, read, validated, and split into folds."""
