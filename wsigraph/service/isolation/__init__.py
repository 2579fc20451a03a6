"""Isolation: slides are opened in worker processes, apart from the process that answers requests."""
