"""Manifests of feature files: a cohort without slides, or feature files added to the rows of slides."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from wsigraph.cohort.manifest.manifest import Manifest
from wsigraph.cohort.manifest.manifest_row import ManifestRow
from wsigraph.exchange.feature_files import features_of_slides, named_feature_files


def manifest_of_features(text: str) -> Manifest:
    """Return feature files as a manifest that states nothing but their ids and paths.

    Parameters
    ----------
    text : str
        A file, a folder with its subfolders, or a glob.

    Returns
    -------
    Manifest
        Every file counts as a patient of its own.

    Raises
    ------
    SlidesNotFound
        If there is no feature file.
    """
    rows = tuple(
        feature_row(line, file.slide_id, file.path) for line, file in enumerate(named_feature_files(text), start=2)
    )
    return Manifest(path=Path(text), rows=rows, warnings=())


def feature_row(line: int, slide_id: str, path: Path) -> ManifestRow:
    """Return the row of a feature file without a slide, of a patient of its own."""
    return ManifestRow(
        line=line,
        slide_id=slide_id,
        patient_id=slide_id,
        site=None,
        path=None,
        mpp=None,
        stage=None,
        grade=None,
        time_days=None,
        event=None,
        split=None,
        sha256=None,
        free={},
        features=Path(os.path.abspath(path)),  # noqa: PTH100 - links keep their own name
    )


def with_feature_files(manifest: Manifest, text: str) -> Manifest:
    """Return a manifest whose rows name the feature files of their slides.

    Parameters
    ----------
    manifest : Manifest
        Slides; a row that names a feature file keeps it.
    text : str
        A folder or a glob of feature files with the names of the slides.

    Returns
    -------
    Manifest
        The same rows.

    Raises
    ------
    SlidesNotFound
        If a slide has no feature file.
    """
    lacking = [row.slide_id for row in manifest.rows if row.features is None]
    files = features_of_slides(text, lacking) if lacking else {}
    rows = tuple(
        row if row.features is not None else replace(row, features=Path(os.path.abspath(files[row.slide_id])))  # noqa: PTH100
        for row in manifest.rows
    )
    return replace(manifest, rows=rows)
