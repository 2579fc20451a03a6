"""Names as they can be shown: characters that change the direction or the lines of a text are shown by their code.

``report<U+202E>ffit.exe`` would otherwise be displayed as ``reportexe.tiff``.

References
----------
Unicode Technical Report 36, Unicode Security Considerations, section 2.5: bidirectional text spoofing.
"""

from __future__ import annotations

import re

_MISLEADING = re.compile(
    "[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def show_safely(text: str) -> str:
    """Return a text in which control, bidirectional and invisible characters are written as ``<U+202E>``."""
    return _MISLEADING.sub(lambda match: f"<U+{ord(match.group()):04X}>", text)
