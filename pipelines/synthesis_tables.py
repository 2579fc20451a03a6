"""Scores of a generator as tables, and the measured part of a page."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from wsigraph.synthesis.layout import TISSUES

_MEASURED = "<!-- synthesis: measured -->"
_PICTURES = {
    "obey.png": "Graphs, painter, then the rows unconditional, map, graph, graph + map (painted tissue).",
    "edits.png": "Before, the edited mask, after: three of each kind, removed, another class, moved.",
    "real.png": "Regions of held-out real tissue, then what the rows paint from them (real tissue).",
}


def tables(scores: dict[str, Any]) -> str:
    """Return scores as Markdown."""
    parts = []
    if "time" in scores:
        cost = scores["time"]
        parts.append(f"One picture in 25 guided steps: {cost['cpu_s']:.1f} CPU s ({cost['wall_s']:.1f} s).")
    if "obey" in scores:
        parts.append(
            "| row | precision | recall (95 %) | F1 | position, um | area, log2 | edge F1 |\n"
            "|---|---|---|---|---|---|---|"
        )
        for name, row in scores["obey"].items():
            low, high = row["recall_interval"]
            parts[-1] += (
                f"\n| {name} | {row['precision']:.3f} | {row['recall']:.3f} ({low:.3f}-{high:.3f}) | {row['f1']:.3f} "
                f"| {row['position_um']:.1f} | {row['area_log2']:.2f} | {row['edge_f1']:.3f} |"
            )
        parts.append(f"| F1 by class | {' | '.join(TISSUES)} |\n|---|{'---|' * len(TISSUES)}")
        for name, row in scores["obey"].items():
            cells = " | ".join(format(row["f1_by_class"][each], ".2f") for each in TISSUES)
            parts[-1] += f"\n| {name} | {cells} |"
    if "edit" in scores:
        parts.append("| edit | n | inside changes | outside stays | both |\n|---|---|---|---|---|")
        for name, row in scores["edit"].items():
            parts[-1] += (
                f"\n| {name} | {row['n']} | {row['inside_changes']:.2f} | {row['outside_stays']:.2f} "
                f"| {row['both']:.2f} |"
            )
    if "real" in scores:
        rows = scores["real"]["rows"]
        spaces = [name for name in ("features", "inception") if f"copying_{name}" in rows["real"]]
        parts.append(
            f"| set | {' | '.join(f'kernel distance, {each}' for each in spaces)} |\n|---|{'---|' * len(spaces)}"
        )
        for name, row in rows.items():
            distances = [row[f"kernel_distance_{each}"] for each in spaces]
            shown = " | ".join(f"{each['value']:.4f} +- {each['error']:.4f}" for each in distances)
            parts[-1] += f"\n| {name} | {shown} |"
        spaces.append("pixels")
        head = " | ".join(f"{each}: closer, ratio" for each in spaces)
        parts.append(f"| set | {head} | caught |\n|---|{'---|' * (len(spaces) + 1)}")
        for name, row in rows.items():
            copying = [row[f"copying_{each}"] for each in spaces]
            shown = " | ".join(f"{each['close_fraction']:.3f}, {each['median_ratio']:.2f}" for each in copying)
            parts[-1] += f"\n| {name} | {shown} | {'yes' if any(each['caught'] for each in copying) else 'no'} |"
    return "\n\n".join(parts)


def write_page(page: Path, scores: dict[str, Any], options: argparse.Namespace) -> None:
    """Write tables and pictures into a page, below its mark."""
    kept = page.read_text(encoding="utf-8").split(_MEASURED)[0]
    folder = page.with_suffix("")
    folder.mkdir(exist_ok=True)
    pictures = ""
    for name, title in _PICTURES.items():
        if (options.out / name).is_file():
            (folder / name).write_bytes((options.out / name).read_bytes())
            pictures += f"\n{title}\n\n![{title}]({folder.name}/{name})\n"
    about = (
        f"Generator {scores['model_id']}: {options.graphs} graphs, {options.edits} edits of a kind, {options.pictures} "
        f"pictures a set, {options.steps} steps of {options.sampler}, guidance {options.guidance:g}."
    )
    page.write_text(f"{kept}{_MEASURED}\n{about}\n\n{tables(scores)}\n{pictures}", encoding="utf-8")
