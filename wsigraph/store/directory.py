"""The directory of one slide's records: which steps are done, and which records must be made again.

A step is done if its record exists, is undamaged and was made from the inputs and settings that it has now. The
record is then loaded. At the first step that is not done, its record and all later ones are removed before the step
runs, so that the directory never holds a prediction of another graph. Timings go to ``run.json`` alone.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from wsigraph.errors import StoreError
from wsigraph.records import SlideInfo
from wsigraph.store.atomic import discard, write_file, writing
from wsigraph.store.codecs import SLIDE_INFO
from wsigraph.store.completion import is_done
from wsigraph.store.documents import read_document
from wsigraph.store.header import Destination, canonical_document, digest

SLIDE_FILE = "slide.json"
"""What is known of the slide; identifies the slide of the directory."""
RUN_FILE = "run.json"
"""Timings and circumstances of the last run; the one file that differs between equal runs."""

Record = TypeVar("Record")


class WorkLeft(Exception):
    """A stage is not done, and only resuming was allowed; its text is the name of the stage."""


class SlideDirectory:
    """Records of one slide, stage by stage.

    Parameters
    ----------
    path : Path
        ``OUT/<slide_id>``; made when the first record is written.
    layout : mapping of str to tuple of str
        Stages in their order, each with its files. The first file of a stage carries the header; where there are
        others, it is a JSON document that names their digests under ``"sha256"``.
    progress : callable, optional
        Called with (stage, done, total).

    Attributes
    ----------
    seconds : dict of str to float
        Wall time of the stages carried out so far.
    resumed : list of str
        Stages that were found done.
    """

    def __init__(
        self,
        path: Path,
        layout: Mapping[str, tuple[str, ...]],
        progress: Callable[[str, int, int], None] | None = None,
    ) -> None:
        self.path = path
        self.seconds: dict[str, float] = {}
        self.resumed: list[str] = []
        self._layout = layout
        self._progress = progress or (lambda *_: None)
        self._is_redoing = False
        self._counts_none_as_done = False
        self._may_work = True

    def only_resume(self) -> None:
        """Raise `WorkLeft` in place of carrying out a stage."""
        self._may_work = False

    def redo(self) -> None:
        """Count no stage as done, so that the next one and all after it are carried out."""
        self._counts_none_as_done = True

    def refuse_clash(self, info: SlideInfo) -> None:
        """Check that the directory does not belong to a slide of other bytes.

        Parameters
        ----------
        info : SlideInfo
            The slide that is about to be written here.

        Raises
        ------
        StoreError
            If it does.
        """
        try:
            known = SLIDE_INFO.load(self.path / SLIDE_FILE)
        except StoreError:
            # absent, or too damaged to tell: then nothing here counts as done either
            return
        if known.sha256 != info.sha256:
            raise StoreError(
                f"{self.path} belongs to another slide named {known.slide_id!r} (sha256 {known.sha256[:12]}, "
                f"met {info.sha256[:12]}); rename the file or give another --out"
            )

    def carry_out(
        self,
        stage: str,
        inputs: Mapping[str, str],
        config: Mapping[str, str],
        make: Callable[[Destination], None],
        load: Callable[[Path], Record],
    ) -> Record:
        """Find a stage done or carry it out, and return its record as stored.

        Parameters
        ----------
        stage : str
            Name in the layout.
        inputs, config : mapping of str to str
            Digests of what the record would be made from now.
        make : callable
            Writes the stage's files, the one with the header last.
        load : callable
            Reads the record.

        Returns
        -------
        record
            What `load` returns.

        Raises
        ------
        StoreError
            If the directory cannot be written.
        WorkLeft
            If the stage is not done, after `only_resume`.
        """
        names = self._layout[stage]
        to = Destination(self.path / names[0], inputs, config)
        may_be_done = not (self._is_redoing or self._counts_none_as_done)
        if may_be_done and is_done(to.path, inputs, config) and self._are_whole(to.path, names[1:]):
            self.resumed.append(stage)
            return load(to.path)
        if not self._may_work:
            raise WorkLeft(stage)
        if not self._is_redoing:
            self._drop_from(stage)
            self._is_redoing = True
        self._progress(stage, 0, 1)
        started = time.perf_counter()
        make(to)
        record = load(to.path)
        self.seconds[stage] = time.perf_counter() - started
        self._progress(stage, 1, 1)
        return record

    def digest(self, stage: str) -> dict[str, str]:
        """Return the digest of a stage's record under its file's name.

        Raises
        ------
        StoreError
            If it is not there.
        """
        name = self._layout[stage][0]
        return {name: digest(self.path / name)}

    def files(self) -> tuple[Path, ...]:
        """Return the files that are there, in the order of the stages."""
        names = [*(name for names in self._layout.values() for name in names), RUN_FILE]
        return tuple(self.path / name for name in names if (self.path / name).exists())

    def write_run(self, circumstances: Mapping[str, Any]) -> None:
        """Write ``run.json``; stages found done keep the seconds they took when they were carried out.

        Parameters
        ----------
        circumstances : mapping of str to JSON value
            What else to note.

        Raises
        ------
        StoreError
            If it cannot be written.
        """
        earlier = _noted_seconds(self.path / RUN_FILE)
        self.seconds.update({stage: earlier[stage] for stage in self.resumed if stage in earlier})
        seconds = {stage: round(value, 4) for stage, value in self.seconds.items()}
        document = {**circumstances, "resumed": self.resumed, "seconds": seconds}
        write_file(self.path / RUN_FILE, canonical_document(document))

    def _are_whole(self, record: Path, companions: tuple[str, ...]) -> bool:
        """Return whether the files beside a JSON record are those whose digests it names."""
        if not companions:
            return True
        named = read_document(record)[1].get("sha256", {})
        return all((self.path / name).is_file() and named.get(name) == digest(self.path / name) for name in companions)

    def _drop_from(self, stage: str) -> None:
        stages = list(self._layout)
        stale = [name for later in stages[stages.index(stage) :] for name in self._layout[later]]
        with writing(self.path):
            # the last first, so that a kill in between never leaves a later record without an earlier one
            for name in [RUN_FILE, *reversed(stale)]:
                discard(self.path / name)


def check_writable(out: Path) -> None:
    """Meet an output directory that can hold no results before the work rather than after it.

    Parameters
    ----------
    out : Path
        Directory, there or not yet.

    Raises
    ------
    StoreError
        If it is a file, lies below one, or may not be written to.
    """
    existing = next(parent for parent in (out, *out.absolute().parents) if parent.exists())
    # the rights that this process acts with: one in a sandbox has others than its user
    by_effective = os.access in os.supports_effective_ids
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK, effective_ids=by_effective):
        what = "cannot be written to" if existing.is_dir() else "is a file"
        raise StoreError(f"output directory {out}: {existing} {what}; choose another with --out")


def _noted_seconds(file: Path) -> dict[str, float]:
    """Return the seconds an earlier run noted; none where its notes do not read, for they are for people alone."""
    try:
        seconds = json.loads(file.read_bytes())["seconds"]
        return {str(stage): float(value) for stage, value in seconds.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}
