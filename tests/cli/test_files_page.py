"""The code of the page on files runs in a directory that predict wrote, and what it says of arrays is so."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from tests.cli.command import ROOT, Finished

PAGE = (ROOT / "docs" / "files.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("code", [code for language, code in BLOCKS if language == "python"])
def test_a_block_of_python_runs(code: str, finished: Finished) -> None:
    # torch_geometric warns of torch.jit.script when it is imported
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", code],
        cwd=finished.directory, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout or "assert" in code


@pytest.mark.skipif(shutil.which("Rscript") is None, reason="R is not installed")
def test_the_block_in_r_runs(finished: Finished) -> None:
    (code,) = [code for language, code in BLOCKS if language == "r"]
    subprocess.run(["Rscript", "-e", code], cwd=finished.directory, check=True)


@pytest.mark.parametrize("name", ["graph", "coarse"])
def test_the_table_names_every_array_and_x_is_what_the_moments_give(name: str, finished: Finished) -> None:
    from wsigraph.graph.feature.interpret import interpret
    from wsigraph.torch.graph_data import read_graph

    path = finished.directory / f"{name}.safetensors"
    with safe_open(path, framework="np") as file:
        names, x = set(file.keys()), file.get_tensor("x")
        fields = json.loads(file.metadata()["wsigraph"])["fields"]
    assert all(f"`{one}`" in PAGE for one in names)
    record = read_graph(path)
    table = interpret(getattr(record, "graph", record))
    assert fields["x_names"] == list(table.names)
    assert fields["x_units"] == list(table.units)
    np.testing.assert_array_equal(x, table.values.astype(np.float32))


def test_every_file_of_a_prediction_is_on_the_page(finished: Finished) -> None:
    pages = PAGE + (Path(ROOT) / "docs" / "devices.md").read_text()
    for path in finished.directory.iterdir():
        assert path.name in pages or path.name == "report.png", path.name
