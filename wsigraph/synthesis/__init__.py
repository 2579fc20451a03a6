"""Synthetic tissue: simulated cohorts with a known truth, and images generated from a graph; always marked."""
