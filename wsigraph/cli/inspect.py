"""``wsigraph inspect``: what a slide file says of itself, its pixels unread."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from wsigraph.cli.failure import Debug, ends_plainly
from wsigraph.cli.options import AsJson, Mpp
from wsigraph.cli.slide_arguments import FromManifest, NamedSlide, select_slides, work_through

_Slide = Annotated[str | None, typer.Argument(metavar="[SLIDE]", help="Slide file.", show_default=False)]


@ends_plainly
def inspect(
    slide: _Slide = None,
    manifest: FromManifest = None,
    mpp: Mpp = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Say what a slide file, or each of a manifest, holds: format, levels, pixel size and its source, other images."""
    from wsigraph.slide.inspection import inspect as inspect_slide

    selection = select_slides(None if slide is None else [slide], manifest, mpp)

    def work(slide: NamedSlide) -> dict[str, Any]:
        name = {} if slide.slide_id is None else {"slide_id": slide.slide_id}
        return name | inspect_slide(slide.path, mpp=slide.mpp)

    def show(found: dict[str, Any]) -> None:
        print("\n".join(_lines(found)), end="\n" if selection.is_single else "\n\n", flush=True)

    work_through(selection, work, show=show, plain=dict, as_json=as_json, debug=debug)


def _lines(found: dict[str, Any]) -> list[str]:
    """Return the facts as aligned lines."""
    size = found["size"]
    stated = "none" if found["mpp"] is None else f"{found['mpp']:g} um/px ({found['mpp_source']})"
    rows = [("name", found["slide_id"])] if "slide_id" in found else []
    rows += [
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
