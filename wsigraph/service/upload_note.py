"""The note of an upload: a JSON file beside its bytes that says what it is.

A note that cannot be read is logged and skipped, so that one damaged file never stops the service.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from wsigraph.store.atomic import write_file

NOTE = "upload.json"
"""File name of a note."""
_FILE_NAME = re.compile(r"slide(\.[a-z0-9]+)+")
_log = logging.getLogger("wsigraph.service")


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """An upload.

    Attributes
    ----------
    upload_id : str
        Identifier.
    name : str
        File name at the client. Displayed, never used as a path.
    file : str
        File name in the upload directory.
    size : int
        Total size in bytes.
    owner : str
        Name of the principal that sends it.
    slide_id : str
        Identifier of the slide that it becomes.
    error, message : str
        Class and message of the error for which the check refused it; empty before, and for a slide.
    """

    upload_id: str
    name: str
    file: str
    size: int
    owner: str
    slide_id: str
    error: str = ""
    message: str = ""

    def __post_init__(self) -> None:
        texts = (self.upload_id, self.name, self.file, self.owner, self.slide_id, self.error, self.message)
        if not all(isinstance(text, str) for text in texts) or not isinstance(self.size, int):
            raise ValueError("a field has another type than expected")
        if not _FILE_NAME.fullmatch(self.file):
            raise ValueError(f"its file is {self.file[:40]!r}, expected 'slide' and a suffix")


def write_note(folder: Path, upload: Upload) -> None:
    """Write the note of an upload into its directory, in one step and flushed to disk.

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    write_file(folder / NOTE, json.dumps(asdict(upload)).encode())


def read_note(folder: Path) -> Upload | None:
    """Return the upload of a directory; None if there is no note, or it is damaged, which is logged."""
    path = folder / NOTE
    try:
        return Upload(**json.loads(path.read_bytes()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError) as error:
        _log.warning(
            "the note of upload %s is damaged (%s), so the upload is skipped; remove its directory", folder.name, error
        )
        return None


def notes_in(folder: Path) -> Iterator[tuple[Path, Upload]]:
    """Yield the directories in `folder` that have a note, sorted by name, and their uploads."""
    for path in sorted(folder.glob(f"*/{NOTE}")):
        upload = read_note(path.parent)
        if upload is not None:
            yield path.parent, upload
