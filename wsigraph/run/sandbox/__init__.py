"""Sandbox: what a process that opens slides may still read, write and call on Linux."""
