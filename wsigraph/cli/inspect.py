"""``wsigraph inspect``: what a slide file says of itself, its pixels unread."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from wsigraph.cli.failure import Debug, ends_plainly
from wsigraph.cli.options import AsJson, Mpp


@ends_plainly
def inspect(
    slide: Annotated[str, typer.Argument(metavar="SLIDE", help="Slide file.", show_default=False)],
    mpp: Mpp = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Say what a slide file holds: format, levels, pixel size and where it stands, associated images."""
    from wsigraph.slide.inspection import inspect as inspect_slide

    found = inspect_slide(slide, mpp=mpp)
    print(json.dumps(found, allow_nan=False) if as_json else "\n".join(_lines(found)))


def _lines(found: dict[str, Any]) -> list[str]:
    """Return the facts as aligned lines."""
    size = found["size"]
    stated = "none" if found["mpp"] is None else f"{found['mpp']:g} um/px ({found['mpp_source']})"
    rows = [
        ("slide", found["path"]),
        ("format", f"{found['vendor']}, read by {found['reader']}"),
        ("bytes", f"{found['bytes']:,}"),
        ("sha256", found["sha256"]),
        ("size", f"{size['width']:,} x {size['height']:,} px"),
        ("pixel size", stated),
    ]
    if found["objective_power"] is not None:
        rows.append(("objective", f"{found['objective_power']:g} x"))
    for number, level in enumerate(found["levels"]):
        scale = "" if level["mpp"] is None else f", {level['mpp']:.4g} um/px"
        tile = f"tiles of {level['tile_width']} x {level['tile_height']}"
        rows.append((f"level {number}", f"{level['width']:,} x {level['height']:,} px, {tile}{scale}"))
    rows.append(("associated", ", ".join(found["associated"]) or "none"))
    if found["identifying_images"]:
        names = ", ".join(found["identifying_images"])
        rows.append(("privacy", f"{names} may show the patient's name; keep the file as you keep patient data"))
    if found["mpp_problem"]:
        rows.append(("problem", found["mpp_problem"]))
    rows += [("warning", text) for text in found["warnings"]]
    width = max(len(name) for name, _ in rows)
    return [f"{name:<{width}}  {value}" for name, value in rows]
