"""How a record refuses to exist: every fault it has in one message."""

from __future__ import annotations

from collections.abc import Mapping

from wsigraph.errors import RecordError


def refuse(record: str, faults: Mapping[str, bool]) -> None:
    """Check a record.

    Parameters
    ----------
    record : str
        Name of its class.
    faults : mapping of str to bool
        Every fault that it may have, and whether it has it.

    Raises
    ------
    RecordError
        If it has one; the message lists all.
    """
    present = [text for text, is_fault in faults.items() if is_fault]
    if present:
        raise RecordError(f"{record}: " + "; ".join(present))
