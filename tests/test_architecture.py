"""The shape of the house, checked by machine: layers, sizes, names, cycles, documented errors, true signposts."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "wsigraph"
MODULES = sorted(PACKAGE.rglob("*.py"))
CODE = [*MODULES, *sorted((ROOT / "pipelines").rglob("*.py")), *sorted((ROOT / "tests").rglob("*.py"))]
TEXTS = [*CODE, *ROOT.glob("*.md"), *ROOT.glob("*.txt"), *ROOT.glob("*.toml"), *(ROOT / "configs").glob("*.yaml")]
MAX_MODULE_LINES, MAX_MEDIAN_LINES, MAX_FUNCTION_LINES = 400, 200, 60
NAMELESS = {"utils", "util", "helpers", "helper", "common", "base", "misc", "core"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, Function]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Function):
            yield prefix + node.name, node
        if isinstance(node, (ast.ClassDef, Function)):
            yield from functions(node, f"{prefix}{node.name}.")


def test_layers_and_contracts_hold() -> None:
    program = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", CODE, ids=relative)
def test_no_file_and_no_function_outgrows_its_budget(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_MODULE_LINES
    for name, node in functions(parse(path)):
        start = node.body[0].end_lineno or 0 if ast.get_docstring(node) else node.lineno
        assert (node.end_lineno or 0) - start <= MAX_FUNCTION_LINES, f"{relative(path)}: {name}"


def test_half_of_the_modules_are_short() -> None:
    lengths = [len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES if path.name != "__init__.py"]
    assert statistics.median(lengths) <= MAX_MEDIAN_LINES


def test_no_file_has_a_name_that_says_nothing() -> None:
    assert not [relative(path) for path in CODE if path.stem in NAMELESS or path.parent.name in NAMELESS]


def test_modules_import_one_another_in_no_circle() -> None:
    names = {".".join(path.with_suffix("").relative_to(ROOT).parts).removesuffix(".__init__"): path for path in MODULES}
    graph = {name: {target for target in imported(parse(path)) if target in names} for name, path in names.items()}
    assert list(TopologicalSorter(graph).static_order())


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield the modules imported when a module is executed: not for type checkers, not inside functions."""
    pending: list[ast.stmt] = list(tree.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
            if node.module != "wsigraph":
                yield node.module
        elif isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test):
            pending += [*node.body, *node.orelse]
        elif isinstance(node, ast.Try):
            pending += node.body


def raised(function: Function) -> set[str]:
    """Return the error classes that a function raises in its own body and does not catch for itself."""
    found = set()
    pending: list[ast.AST] = list(function.body)
    while pending:
        node = pending.pop()
        if isinstance(node, (*Function.__args__, ast.ClassDef, ast.Lambda)):
            continue
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
            found.add(node.exc.func.id)
        pending += ast.iter_child_nodes(node)
    return {name for name in found if name[0].isupper() and name not in {"AssertionError", "AttributeError"}}


# a verb's docstring is its help; its errors end as exit codes
@pytest.mark.parametrize("path", [path for path in MODULES if path.parent.name != "cli"], ids=relative)
def test_every_public_function_names_the_errors_it_raises(path: Path) -> None:
    for name, node in functions(parse(path)):
        if any(part.startswith("_") for part in name.split(".")) or name.count(".") > 1:
            continue
        documented = (ast.get_docstring(node) or "").partition("Raises\n------\n")[2]
        missing = {error for error in raised(node) if not re.search(rf"^{error}$|\b{error}\b", documented, re.M)}
        assert not missing, f"{relative(path)}: {name} raises {sorted(missing)} and does not say so"


@pytest.mark.parametrize("path", [path for path in MODULES if path.name != "__init__.py"], ids=relative)
def test_everything_public_is_documented(path: Path) -> None:
    tree = parse(path)
    assert ast.get_docstring(tree)
    for node in ast.walk(tree):
        if isinstance(node, (ast.ClassDef, *Function.__args__)) and not node.name.startswith("_"):
            is_nested = not any(node in ast.iter_child_nodes(parent) for parent in _roofs(tree))
            assert is_nested or ast.get_docstring(node), f"{relative(path)}: {node.name}"


def _roofs(tree: ast.Module) -> list[ast.AST]:
    return [tree, *(node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_"))]


@pytest.mark.parametrize("path", [path for path in TEXTS if path.is_file()], ids=relative)
def test_no_path_or_address_of_one_machine(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    places = "|".join(("work", "root", "tmp", "opt", "home"))
    assert not re.search(rf"(?<![\w.])/({places})/\w", text)
    options = "|".join(("extra-index-url", "index-url", "find-links", "trusted-host"))
    assert not re.search(rf"--({options})\b", text)


def test_nothing_is_unpickled_evaluated_or_loaded_unsafely() -> None:
    dangerous = {"eval", "exec", "pickle.load", "pickle.loads", "yaml.load", "joblib.load", "os.system"}
    for path in MODULES:
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in dangerous, f"{relative(path)}:{node.lineno}"
                if called == "torch.load":
                    keywords = {key.arg: ast.unparse(key.value) for key in node.keywords}
                    assert keywords.get("weights_only") == "True", f"{relative(path)}:{node.lineno}"
                assert "shell=True" not in ast.unparse(node), f"{relative(path)}:{node.lineno}"


def test_paths_in_the_map_exist() -> None:
    for name in ("ARCHITECTURE.md", "README.md", "CONTRIBUTING.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        for mentioned in re.findall(r"`((?:wsigraph|tests|configs|pipelines|\.ci)/[\w./-]*)`", text):
            assert (ROOT / mentioned).exists(), f"{name} names {mentioned}"
