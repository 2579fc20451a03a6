"""What the package offers: names, documented modules, and the cost of importing it."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest

import wsigraph
from docs.reference import LIST, listed_modules, modules_to_list

PACKAGE = Path(wsigraph.__file__).parent
ROOT = PACKAGE.parent
VERBS = (
    "build_graph", "coarsen", "evaluate", "explain", "find_tissue", "predict", "read", "run_slide", "scores_from",
    "segment", "simulate", "synthesize", "train", "view",
)  # fmt: skip


def test_all_is_sorted_complete_and_resolves() -> None:
    assert sorted(wsigraph.__all__) == wsigraph.__all__
    assert dir(wsigraph) == wsigraph.__all__
    for name in wsigraph.__all__:
        assert getattr(wsigraph, name) is not None


def test_all_holds_the_verbs_and_every_record() -> None:
    from wsigraph import records

    assert {*VERBS, *records.__all__, "Slide", "__version__"} == set(wsigraph.__all__)


def test_what_type_checkers_see_is_what_there_is() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    names = {
        alias.asname or alias.name: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in ast.walk(block)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert {*names, "__version__"} == set(wsigraph.__all__)
    for name, module in names.items():
        # a record is defined in a module of wsigraph.records
        assert getattr(wsigraph, name).__module__.startswith(str(module))
        assert getattr(wsigraph, name) is getattr(import_module(str(module)), name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'pool'"):
        wsigraph.pool  # noqa: B018


def test_importing_the_package_imports_nothing_else() -> None:
    program = (
        "import sys; import wsigraph; print([m for m in ('numpy', 'pydantic', 'dask', 'torch') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_importing_the_package_takes_less_than_a_tenth_of_a_second() -> None:
    program = "import time; t = time.process_time(); import wsigraph; print(time.process_time() - t)"
    seconds = [
        float(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)
        for _ in range(3)
    ]
    assert min(seconds) < 0.1


def test_typing_is_announced() -> None:
    assert (PACKAGE / "py.typed").is_file()


def test_every_module_is_listed_in_the_reference_or_private() -> None:
    """A new module is added to the list, or its name begins with an underscore."""
    assert listed_modules() == modules_to_list(), f"run 'python -m docs.reference' to write {LIST} anew and review it"


def notebook_code() -> list[tuple[str, ast.Module]]:
    """Return the syntax tree of every code cell of the notebooks, with the notebook's name."""
    cells = []
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "code":
                lines = "".join(cell["source"]).splitlines()
                code = "\n".join(line for line in lines if not line.lstrip().startswith(("%", "!")))
                cells.append((path.name, ast.parse(code)))
    return cells


def test_no_notebook_uses_a_private_name() -> None:
    public = {*listed_modules(), "wsigraph", "wsigraph.cohort", "wsigraph.figures", "wsigraph.store", "wsigraph.config"}
    faults = []
    for notebook, tree in notebook_code():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("wsigraph"):
                names = [alias.name for alias in node.names]
                if node.module not in public or any(name.startswith("_") for name in names):
                    faults.append(f"{notebook}: from {node.module} import {', '.join(names)}")
            elif isinstance(node, ast.Import):
                faults += [
                    f"{notebook}: import {alias.name}"
                    for alias in node.names
                    if alias.name.startswith("wsigraph") and alias.name not in public
                ]
            elif isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.endswith("__"):
                faults.append(f"{notebook}: .{node.attr}")
    assert faults == []


def test_every_name_a_notebook_imports_exists() -> None:
    imports = {
        (notebook, str(node.module), alias.name)
        for notebook, tree in notebook_code()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("wsigraph")
        for alias in node.names
    }
    for notebook, module, name in sorted(imports):
        assert hasattr(import_module(module), name) or import_module(f"{module}.{name}"), f"{notebook}: {module}.{name}"


def test_help_is_fast() -> None:
    """CPU time, so that a busy machine does not decide."""
    program = (
        "import resource, subprocess, sys\n"
        "subprocess.run([sys.executable, '-m', 'wsigraph', '--help'], stdout=subprocess.DEVNULL, check=True)\n"
        "usage = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(usage.ru_utime + usage.ru_stime)\n"
    )
    seconds = []
    for _ in range(3):
        time.sleep(0.05)
        shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
        seconds.append(float(shown.stdout))
    assert min(seconds) < 0.3
