"""Tables and tests of a cohort: Cox models, calibration, added value, stage agreement."""
