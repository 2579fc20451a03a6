"""Trains rivals in a model's own folds, and scores both on patients that neither had seen."""
