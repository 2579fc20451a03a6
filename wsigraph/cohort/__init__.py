"""Whose slides they are: the manifest of a cohort, and its division into parts that share no patient."""
