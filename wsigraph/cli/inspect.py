"""``wsigraph inspect``: the metadata of a slide file; no pixels are read."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from wsigraph.cli.failure import Debug, ends_plainly
from wsigraph.cli.options import AsJson, ConfigFiles, FocalPlane, Mpp, Overrides, read_settings
from wsigraph.cli.slide_arguments import FromManifest, select_slides
from wsigraph.cli.slide_results import SlideResults

_Slide = Annotated[str | None, typer.Argument(metavar="[SLIDE]", help="Slide file.", show_default=False)]


@ends_plainly
def inspect(
    slide: _Slide = None,
    manifest: FromManifest = None,
    mpp: Mpp = None,
    z: FocalPlane = None,
    config: ConfigFiles = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Print the metadata of a slide: format, levels, pixel size and its source, associated images."""
    from wsigraph.slide.inspection import inspect as inspect_slide

    settings = read_settings(config, overrides, {"slide.z": z})
    selection = select_slides(None if slide is None else [slide], manifest, mpp, settings)
    results = SlideResults(selection, as_json=as_json, debug=debug)
    for named in selection.slides:
        with results.catch(named):
            name = {} if named.slide_id is None else {"slide_id": named.slide_id}
            facts = name | inspect_slide(named.pixels, mpp=named.mpp, options=settings.slide)
            if as_json:
                results.add(facts)
            else:
                results.print_text("\n".join(_lines(facts)))
    results.finish()


def _lines(facts: dict[str, Any]) -> list[str]:
    """Return the facts as aligned lines."""
    size = facts["size"]
    stated = "none" if facts["mpp"] is None else f"{facts['mpp']:g} um/px ({facts['mpp_source']})"
    rows = [("name", facts["slide_id"])] if "slide_id" in facts else []
    rows += [
        ("slide", facts["path"]),
        ("format", f"{facts['vendor']}, read by {facts['reader']}"),
        ("bytes", f"{facts['bytes']:,}"),
        ("sha256", facts["sha256"]),
        ("size", f"{size['width']:,} x {size['height']:,} px"),
        ("pixel size", stated),
    ]
    if facts["bounds"] is not None:
        area = facts["bounds"]
        rows.append(
            (
                "origin",
                f"x {area['x']:,}, y {area['y']:,} on a plane of {area['plane_width']:,} x "
                f"{area['plane_height']:,} px; the size is that of the scanned area",
            )
        )
    if facts["objective_power"] is not None:
        rows.append(("objective", f"{facts['objective_power']:g} x"))
    if facts["focal_planes"] > 1:
        middle = facts["focal_planes"] // 2 + 1
        rows.append(("focal planes", f"{facts['focal_planes']}; plane {middle} is read unless --z names another"))
    if facts["window"] is not None:
        low, high = facts["window"]
        rows.append(("window", f"16-bit levels {low:,} to {high:,} become 0 to 255"))
    if facts["icc"] is not None:
        rows.append(("ICC profile", f"{facts['icc']}, not applied unless slide.icc=apply"))
    for number, level in enumerate(facts["levels"]):
        scale = "" if level["mpp"] is None else f", {level['mpp']:.4g} um/px"
        tile = f"tiles of {level['tile_width']} x {level['tile_height']}"
        rows.append((f"level {number}", f"{level['width']:,} x {level['height']:,} px, {tile}{scale}"))
    rows.append(("associated", ", ".join(facts["associated"]) or "none"))
    if facts["identifying_images"]:
        names = ", ".join(facts["identifying_images"])
        rows.append(("privacy", f"{names} may show the patient's name; keep the file as you keep patient data"))
    if facts["mpp_problem"]:
        rows.append(("problem", facts["mpp_problem"]))
    rows += [("warning", text) for text in facts["warnings"]]
    width = max(len(name) for name, _ in rows)
    return [f"{name:<{width}}  {value}" for name, value in rows]
