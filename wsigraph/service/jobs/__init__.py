"""Predictions and explanations as jobs: stored, handed to workers, resumed after a restart, kept for a while."""
