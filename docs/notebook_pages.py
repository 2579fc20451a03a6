"""Notebooks as pages: ``python -m docs.notebook_pages`` runs them, and the site shows them with their outputs.

The committed notebooks have no outputs. This command runs each in the folder ``notebooks`` and writes the result to
``build/notebooks``; an error in a cell makes it fail. It is the only run of the notebooks in the checks. The hook of
mkdocs then makes a page of each, with a link to download it. Without a run the pages show the code alone and say so.
"""

from __future__ import annotations

import json
import re
import sys
import time
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
EXECUTED = Path("build") / "notebooks"
CELL_TIMEOUT_S = 600
_STYLE = re.compile(r"<style.*?</style>", re.S)
_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


def execute(name: str) -> float:
    """Run one notebook, write it with its outputs, and return the seconds it took."""
    import nbformat
    from nbclient import NotebookClient

    started = time.perf_counter()
    book = nbformat.read(ROOT / "notebooks" / name, as_version=4)
    NotebookClient(
        book, timeout=CELL_TIMEOUT_S, kernel_name="python3", resources={"metadata": {"path": str(ROOT / "notebooks")}}
    ).execute()
    target = ROOT / EXECUTED / name
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(book, target)
    return time.perf_counter() - started


def main(names: list[str]) -> int:
    """Run the named notebooks, by default all, two at a time; return 1 if a cell of one failed."""
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    names = names or sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))
    failed = 0
    with ThreadPoolExecutor(2) as pool:
        runs = {name: pool.submit(execute, name) for name in names}
        for name, run in runs.items():
            try:
                print(f"{name:<28} {run.result():6.1f} s", flush=True)
            except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
                failed = 1
                print(f"{name:<28} FAILED\n{error}", flush=True)
    return failed


def notebook_files(root: Path) -> dict[str, str | bytes]:
    """Return the pages, their pictures and the notebooks themselves, by path under ``docs``."""
    files: dict[str, str | bytes] = {}
    rows = []
    for source in sorted((root / "notebooks").glob("*.ipynb")):
        done = root / EXECUTED / source.name
        has_run = done.is_file()
        text = (done if has_run else source).read_text(encoding="utf-8")
        page, pictures = render(json.loads(text), source.stem, has_run=has_run)
        files |= {f"notebooks/{source.stem}.md": page, f"notebooks/{source.name}": text, **pictures}
        title = re.findall(r"^# (.*)$", page, re.M)[0]
        rows.append(f"| [{title}]({source.stem}.md) | [{source.name}]({source.name}) |")
    files["notebooks/index.md"] = (
        "# Notebooks\n\nThe checks of the project run each notebook and keep its outputs. Download one, or open it in "
        "a clone of the repository. `python -m pipelines.make_notebook_cohort` makes the simulated cohort that they "
        "read.\n\n"
        "| notebook | download |\n|---|---|\n" + "\n".join(rows) + "\n"
    )
    return files


def render(book: dict[str, Any], stem: str, *, has_run: bool) -> tuple[str, dict[str, bytes]]:
    """Return a notebook as Markdown, and its pictures by path under ``docs``."""
    state = "" if has_run else " It has not been run for this site, so outputs are missing."
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in book["cells"]:
        source = "".join(cell["source"]).strip()
        if cell["cell_type"] == "markdown":
            parts.append(source)
            if len(parts) == 1:
                parts.append(f"[Download this notebook]({stem}.ipynb).{state}")
        elif source:
            parts.append(_fence(source, "python"))
            for output in cell.get("outputs", []):
                parts += _output(output, stem, pictures)
    return "\n\n".join(parts) + "\n", pictures


def _output(output: dict[str, Any], stem: str, pictures: dict[str, bytes]) -> list[str]:
    """Return one output as Markdown; of several forms of the same the richest that needs no program."""
    if output["output_type"] == "stream":
        return [_fence(_ESCAPE.sub("", "".join(output["text"])).strip(), "text")]
    data = output.get("data", {})
    if "image/png" in data:
        name = f"{stem}_{len(pictures)}.png"
        pictures[f"notebooks/{name}"] = b64decode("".join(data["image/png"]))
        return [f"![Output of the cell above]({name})"]
    if "text/html" in data and "<table" in "".join(data["text/html"]):
        lines = _STYLE.sub("", "".join(data["text/html"])).splitlines()
        table = "\n".join(line.strip() for line in lines if line.strip())
        return [f'<div class="notebook-table">\n{table}\n</div>']
    return [_fence("".join(data["text/plain"]), "text")] if "text/plain" in data else []


def _fence(text: str, language: str) -> str:
    return f"```{language}\n{text}\n```" if text else ""


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
