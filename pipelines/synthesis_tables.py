"""Tables of a generator's scores, and the measured part of a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.synthesis_training_images import REAL_GUIDANCE
from wsigraph.synthesis.simulation.layout import TISSUES

_MEASURED = "<!-- synthesis: measured -->"
_PICTURES = {
    "fidelity.png": "Graphs, painter, then the rows unconditional, map, graph, graph + map (painted tissue).",
    "edits.png": "Before, the edited mask, after: three of each kind, removed, another class, moved.",
    "slide.png": "A corner of a slide painted as one, and of canvases side by side.",
    "real.png": "Regions of held-out real tissue, then what the rows paint from them (real tissue).",
}


def tables(scores: dict[str, Any]) -> str:
    """Return scores as Markdown."""
    parts = {"time": _time, "fidelity": _fidelity, "edit": _edit, "real": _real, "slide": _slide}
    return "\n\n".join(write(scores[name]) for name, write in parts.items() if name in scores)


def _time(cost: dict[str, Any]) -> str:
    return (
        f"One canvas in 25 guided steps: {cost['cpu_s']:.1f} CPU s ({cost['wall_s']:.1f} s); 256 px, from overlapping "
        f"canvases, on {cost['threads']} threads: {cost['tile_256_wall_s']:.1f} s."
    )


def _fidelity(rows: dict[str, Any]) -> str:
    lines = ["| row | precision | recall (95 %) | F1 | position, um | area, log2 | edge F1 |", f"|{'---|' * 7}"]
    for name, row in rows.items():
        low, high = row["recall_interval"]
        lines.append(
            f"| {name} | {row['precision']:.3f} | {row['recall']:.3f} ({low:.3f}-{high:.3f}) | {row['f1']:.3f} "
            f"| {row['position_um']:.1f} | {row['area_log2']:.2f} | {row['edge_f1']:.3f} |"
        )
    lines += ["", f"| F1 by class | {' | '.join(TISSUES)} |", f"|---|{'---|' * len(TISSUES)}"]
    for name, row in rows.items():
        cells = " | ".join(format(row["f1_by_class"][tissue], ".2f") for tissue in TISSUES)
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines)


def _edit(rows: dict[str, Any]) -> str:
    lines = ["| edit | n | inside changes | outside stays | both |", f"|{'---|' * 5}"]
    for name, row in rows.items():
        lines.append(
            f"| {name} | {row['n']} | {row['inside_changes']:.2f} | {row['outside_stays']:.2f} | {row['both']:.2f} |"
        )
    return "\n".join(lines)


def _real(scores: dict[str, Any]) -> str:
    rows = scores["rows"]
    spaces = [name for name in ("features", "inception") if f"copying_{name}" in rows["real"]]
    heads = " | ".join(f"kernel distance, {space}" for space in spaces)
    lines = [f"| set | {heads} |", f"|---|{'---|' * len(spaces)}"]
    for name, row in rows.items():
        distances = [row[f"kernel_distance_{space}"] for space in spaces]
        cells = " | ".join(f"{distance['value']:.4f} +- {distance['error']:.4f}" for distance in distances)
        lines.append(f"| {name} | {cells} |")
    spaces.append("pixels")
    heads = " | ".join(f"{space}: closer, ratio" for space in spaces)
    lines += ["", f"| set | {heads} | caught in |", f"|---|{'---|' * (len(spaces) + 1)}"]
    for name, row in rows.items():
        copying = [row[f"copying_{space}"] for space in spaces]
        cells = " | ".join(f"{copies['close_fraction']:.3f}, {copies['median_ratio']:.2f}" for copies in copying)
        caught = [space for space, copies in zip(spaces, copying, strict=True) if copies["caught"]]
        lines.append(f"| {name} | {cells} | {', '.join(caught) or 'none'} |")
    return "\n".join(lines)


def _slide(seam: dict[str, Any]) -> str:
    return (
        f"A slide of {seam['side_px']:.0f} px took {seam['seconds']:.0f} s on {seam['threads']:.0f} threads. Steps "
        f"between neighbouring pixels across the borders of canvases, over those elsewhere: {seam['as_one']:.3f} in "
        f"the slide, {seam['side_by_side']:.3f} in canvases side by side."
    )


def write_page(page: Path, scores: dict[str, Any], pictures: Path) -> None:
    """Write tables and pictures into a page, below the comment ``_MEASURED``."""
    text = page.read_text(encoding="utf-8").split(_MEASURED)[0]
    folder = page.with_suffix("")
    folder.mkdir(exist_ok=True)
    gallery = ""
    for name, title in _PICTURES.items():
        if (pictures / name).is_file():
            (folder / name).write_bytes((pictures / name).read_bytes())
            gallery += f"\n{title}\n\n![{title}]({folder.name}/{name})\n"
    names = {"fidelity": "graphs", "edit": "edits of a kind", "real": "pictures a set"}
    counts = [f"{n} {names[part]}" for part, n in scores.get("counts", {}).items()]
    counts.append(f"{scores['steps']} steps")
    about = (
        f"Generator {scores['model_id']}: {', '.join(counts)} of {scores['sampler']}, "
        f"guidance {scores['guidance']:g} ({REAL_GUIDANCE:g} for real tissue)."
    )
    page.write_text(f"{text}{_MEASURED}\n{about}\n\n{tables(scores)}\n{gallery}", encoding="utf-8")
