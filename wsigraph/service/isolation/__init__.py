"""Processes that open slides for the service, apart from the process that answers requests."""
