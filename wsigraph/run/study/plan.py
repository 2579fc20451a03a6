"""The plan of a study: slides, clinical table and what its columns mean, as ``study.yaml``.

The file reproduces the study: ``wsigraph study --plan DIR/study.yaml``. It is written before anything is computed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wsigraph.cohort.clinical.column_mapping import ColumnMapping
from wsigraph.errors import CohortError
from wsigraph.store.atomic import write_file

PLAN = "study.yaml"
"""File name in the directory of a study."""
STEPS = ("manifest", "graphs", "train", "evaluate", "explain", "page")
"""Steps of a study, in order."""

_HEAD = "# A study of wsigraph. 'wsigraph study --plan {name}' repeats it. Paths are relative to this file.\n"


class StudyPlan(BaseModel):
    """Everything that a study is made from.

    Attributes
    ----------
    slides : tuple of str
        Slide files, folders and globs; or feature files in their place.
    clinical : str
        Clinical table.
    sheet : str or None
        Sheet of an Excel file.
    match : str or None
        Regular expression whose first group is the patient's id in a file name.
    features : str or None
        Folder or glob of the slides' feature files.
    tile_px : int or None
        Side of a tile in level-0 pixels, of feature files that do not state it.
    splits : str or None
        Table of folds to use in place of drawn ones.
    mpp : float or None
        Pixel size of slides that state none, um/px at full resolution.
    columns : ColumnMapping
        What columns and values mean.
    allow_unmapped : bool
        Whether values that are not understood count as missing.
    group : str
        What a fold keeps together: ``patient``, ``site``, or ``auto``: sites where at least six are known.
    folds : int
        Number of folds.
    seed : int
        Seed of all random choices.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    slides: tuple[str, ...] = Field(min_length=1)
    clinical: str
    sheet: str | None = None
    match: str | None = None
    features: str | None = None
    tile_px: int | None = Field(default=None, ge=1)
    splits: str | None = None
    mpp: float | None = None
    columns: ColumnMapping = ColumnMapping()
    allow_unmapped: bool = False
    group: Literal["auto", "patient", "site"] = "auto"
    folds: int = Field(default=5, ge=2)
    seed: int = 1


def save_plan(plan: StudyPlan, directory: Path) -> Path:
    """Write ``study.yaml`` into a directory, with paths relative to it.

    Parameters
    ----------
    plan : StudyPlan
        The plan, whose paths are relative to the working directory or absolute.
    directory : Path
        Directory of the study.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    values = plan.model_dump(mode="json", exclude_defaults=True)
    values["slides"] = [_moved(text, Path.cwd(), directory) for text in plan.slides]
    values |= _moved_files(plan, Path.cwd(), directory)
    path = directory / PLAN
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)
    write_file(path, (_HEAD.format(name=PLAN) + text).encode())
    return path


def load_plan(path: Path) -> StudyPlan:
    """Read a plan.

    Parameters
    ----------
    path : Path
        ``study.yaml``.

    Returns
    -------
    StudyPlan
        The plan, with paths relative to the working directory.

    Raises
    ------
    CohortError
        If the file cannot be read or is no plan.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        plan = StudyPlan.model_validate(values)
    except OSError as error:
        raise CohortError(
            f"plan {path} cannot be read: {error.strerror}; give a study.yaml of wsigraph study"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CohortError(f"plan {path} is no YAML: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise CohortError(f"plan {path}: {place}: {first['msg']}; wsigraph study writes such a file") from None
    folder = path.parent
    return plan.model_copy(
        update={
            "slides": tuple(_moved(text, folder, Path.cwd()) for text in plan.slides),
            **_moved_files(plan, folder, Path.cwd()),
        }
    )


def _moved_files(plan: StudyPlan, old: Path, new: Path) -> dict[str, str]:
    """Return the fields of a plan that name one file, relative to another folder."""
    named = {name: getattr(plan, name) for name in ("clinical", "features", "splits")}
    return {name: _moved(text, old, new) for name, text in named.items() if text is not None}


def _moved(text: str, old: Path, new: Path) -> str:
    """Return a path that is relative to one folder as one that is relative to another."""
    if Path(text).is_absolute():
        return text
    try:
        return Path(os.path.relpath(old / text, new)).as_posix()
    except ValueError:  # another drive
        return (old / text).absolute().as_posix()
