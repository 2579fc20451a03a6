"""Fixtures of trained models, shared with the tests of training."""

from __future__ import annotations

from tests.training.conftest import examples, library, patients, tiny_config, trained

__all__ = ["examples", "library", "patients", "tiny_config", "trained"]
