"""Finds doubtful follow-up: patients with none, who are left out of survival, and times that may not be days."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from wsigraph.cohort.manifest.manifest_row import ManifestRow

LONGEST_DAYS_MIN, MEDIAN_DAYS_MIN = 365.25 / 2, 100.0
"""A cohort whose longest or median follow-up is shorter may be in months."""

_PATIENTS_LISTED = 5


def describe_follow_up(rows: Sequence[ManifestRow]) -> list[str]:
    """Return warnings about follow-up.

    Parameters
    ----------
    rows : sequence of ManifestRow
        All rows.

    Returns
    -------
    list of str
        One that counts and names the patients with a follow-up of 0 days, and one if the longest follow-up is under
        half a year or the median over patients under 100 days.
    """
    warnings = []
    if zero := patients_at_zero(rows):
        shown = ", ".join(zero[:_PATIENTS_LISTED])
        more = f" and {len(zero) - _PATIENTS_LISTED} more" if len(zero) > _PATIENTS_LISTED else ""
        patients = "1 patient" if len(zero) == 1 else f"{len(zero)} patients"
        warnings.append(f"time_days is 0 for {patients} ({shown}{more}): left out of survival, not of stage")
    known = {row.patient_id: row.follow_up_days for row in rows if row.follow_up_days is not None}
    days = list(known.values())
    if days and (max(days) < LONGEST_DAYS_MIN or statistics.median(days) < MEDIAN_DAYS_MIN):
        warnings.append(
            f"months? the longest time_days is {max(days):g} and the median {statistics.median(days):g}, expected "
            "days; multiply months by 30.44, years by 365.25"
        )
    return warnings


def patients_at_zero(rows: Sequence[ManifestRow]) -> list[str]:
    """Return the patients with a follow-up of 0 days, in the order of the rows."""
    return list(dict.fromkeys(row.patient_id for row in rows if row.time_days == 0))
