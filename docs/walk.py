"""Type the commands of tutorials and how-to pages: ``python -m docs.walk [PAGE or FOLDER ...]``.

Blocks marked ``bash`` are typed as they stand, and ``python`` blocks are run, in the order of the page and in an empty
folder of the page's own. A ``text`` block must appear in the output of the block before it. A ``console`` block is not
typed, because it needs a cluster, a GPU or data; its commands and options must exist. Blocks of other languages are
only shown. A comment before a block changes this: ``<!-- walk: install -->`` is typed with ``--fresh`` alone. ``<!--
walk: slow -->`` at the top of a page leaves it out unless it is named or ``--slow`` is given.

``--fresh`` makes a clone and an environment as the first tutorial says, and types everything there.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
FOLDERS = ("tutorials", "howto")
TOLERANCE = 0.01
"""Numbers that are shown may differ by so much from those that are printed, because processors round differently."""
_BLOCK = re.compile(r"(?:^<!-- walk: (?P<mark>\w+) -->\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.M | re.S)
_NUMBER = re.compile(r"^-?[\d,]*\.?\d+$")


class WalkError(Exception):
    """A page that says something else than what happens."""


@dataclass(frozen=True)
class Block:
    """A block of a page.

    Attributes
    ----------
    language : str
        What stands behind the fence.
    text : str
        Its lines.
    mark : str
        Word of the comment before it, or an empty string.
    """

    language: str
    text: str
    mark: str


def blocks_of(text: str) -> list[Block]:
    """Return the fenced blocks of a page, in their order."""
    return [Block(match["language"], match["text"], match["mark"] or "") for match in _BLOCK.finditer(text)]


def pages(names: list[str], *, slow: bool) -> list[Path]:
    """Return the named pages, and of folders those that are not slow unless `slow`."""
    found = []
    for name in names or list(FOLDERS):
        path = DOCS / name
        if path.is_dir():
            found += [page for page in sorted(path.glob("*.md")) if slow or not is_slow(page)]
        elif path.is_file():
            found.append(path)
        else:
            raise WalkError(f"docs/{name} is not there; name a page or a folder below docs, such as tutorials")
    return found


def is_slow(page: Path) -> bool:
    """Return whether a page says that its commands take long."""
    return page.read_text(encoding="utf-8").startswith("<!-- walk: slow -->")


def walk(page: Path, folder: Path, environment: dict[str, str], *, fresh: bool = False) -> int:
    """Type a page in a folder and return the number of blocks that ran.

    Raises
    ------
    WalkError
        If a command fails, prints something else than the page shows, or does not exist.
    """
    output = ""
    n_run = 0
    for block in _joined(blocks_of(page.read_text(encoding="utf-8"))):
        if block.language == "text":
            check_output(block.text, output, page.name)
        elif block.language == "console":
            check_commands(block.text, page.name)
        elif block.language in ("bash", "python") and (fresh or block.mark != "install"):
            output = run_block(block, folder, environment, page.name)
            n_run += 1
        else:
            output = ""
    return n_run


def _joined(blocks: list[Block]) -> list[Block]:
    """Return the blocks of a page; where all that runs is Python, it is one program, as a reader would type it."""
    if any(block.language == "bash" for block in blocks):
        return blocks
    programs = [block.text for block in blocks if block.language == "python"]
    rest = [block for block in blocks if block.language != "python"]
    return [Block("python", "\n".join(programs), ""), *rest] if programs else rest


def run_block(block: Block, folder: Path, environment: dict[str, str], where: str) -> str:
    """Return what a block prints."""
    program = ["bash", "-euo", "pipefail", "-c"] if block.language == "bash" else ["python", "-c"]
    command = [*program, block.text]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run(command, cwd=folder, env=environment, text=True, check=False, **pipes)  # type: ignore[call-overload] # noqa: S603
    if done.returncode:
        raise WalkError(f"{where}: exit code {done.returncode} after\n{block.text}\n{done.stdout[-3000:]}")
    return done.stdout


def check_output(shown: str, printed: str, where: str) -> None:
    """Fail unless every shown line was printed; ``...`` stands for anything, and numbers have a tolerance."""
    lines = [line.split() for line in printed.splitlines()]
    for line in shown.splitlines():
        if not any(_is_same(line.split(), words) for words in lines):
            raise WalkError(f"{where}: shows a line that was not printed:\n{line}\nprinted:\n{printed[-3000:]}")


def _is_same(shown: list[str], printed: list[str]) -> bool:
    if "..." in shown:
        place = shown.index("...")
        tail = shown[place + 1 :]
        start = len(printed) - len(tail)
        return (
            start >= place
            and _is_same(shown[:place], printed[:place])
            and (not tail or _is_same(tail, printed[start:]))
        )
    return len(shown) == len(printed) and all(map(_is_same_word, shown, printed))


def _is_same_word(shown: str, printed: str) -> bool:
    if shown == printed:
        return True
    if not (_NUMBER.match(shown) and _NUMBER.match(printed)):
        return False
    one, other = (float(word.replace(",", "")) for word in (shown, printed))
    return abs(one - other) <= max(TOLERANCE * abs(one), 0.002)


def check_commands(text: str, where: str) -> None:
    """Fail unless each command of wsigraph in a block exists, with all its options."""
    for words in _commands(text):
        command, rest = _command_of(words)
        if command is None:
            raise WalkError(f"{where}: there is no command '{' '.join(words)}'")
        known = {option for parameter in command.params for option in parameter.opts}
        unknown = [word.split("=")[0] for word in rest if word.startswith("--") and word.split("=")[0] not in known]
        if unknown:
            raise WalkError(f"{where}: '{' '.join(words)}' has no option {', '.join(unknown)}")


def _commands(text: str) -> Iterator[list[str]]:
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True)
        if words[:1] == ["wsigraph"]:
            yield words
        elif (
            words[:2] == ["python", "-m"]
            and words[2].startswith(("pipelines", "docs", "tests"))
            and not (ROOT / (words[2].replace(".", "/") + ".py")).is_file()
        ):
            raise WalkError(f"there is no module {words[2]}")


def _command_of(words: list[str]) -> tuple[Any, list[str]]:
    from typer.main import get_command

    from wsigraph.cli.main import app

    command: Any = get_command(app)
    rest = words[1:]
    while hasattr(command, "commands"):
        if not rest or rest[0] not in command.commands:
            return None, rest
        command, rest = command.commands[rest[0]], rest[1:]
    return command, rest


def shim(folder: Path) -> dict[str, str]:
    """Return an environment in which ``wsigraph`` and ``python`` are those of this process."""
    bin_folder = folder / "bin"
    bin_folder.mkdir(parents=True)
    for name, words in (("python", ""), ("python3", ""), ("wsigraph", "-m wsigraph ")):
        script = bin_folder / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words}"$@"\n', encoding="utf-8")
        script.chmod(0o755)
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": path}


def fresh_clone(folder: Path) -> tuple[Path, dict[str, str]]:
    """Return a clone of the repository, and an environment whose programs come first from the clone's ``.venv``."""
    clone = folder / "wsigraph"
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(clone)], check=True)  # noqa: S603, S607
    path = f"{clone / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return clone, {**environment, "PATH": path}


def main(arguments: list[str] | None = None) -> int:
    """Walk pages, print what each took, and return 1 if one failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pages", nargs="*", metavar="PAGE", help="pages or folders below docs; by default both folders")
    parser.add_argument("--slow", action="store_true", help="also the pages of a folder that say that they are slow")
    parser.add_argument("--fresh", action="store_true", help="in a clone and an environment made for it")
    options = parser.parse_args(arguments)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="walk-") as scratch:
        clone, environment = fresh_clone(Path(scratch)) if options.fresh else (None, shim(Path(scratch)))
        for page in pages(options.pages, slow=options.slow):
            folder = clone or Path(tempfile.mkdtemp(dir=scratch))
            started = time.perf_counter()
            try:
                n_run = walk(page, folder, environment, fresh=options.fresh)
            except WalkError as error:
                failed = 1
                print(f"FAILED {error}", flush=True)
            else:
                seconds = time.perf_counter() - started
                print(f"{page.relative_to(DOCS).as_posix():<36} {n_run:3} blocks {seconds:7.1f} s", flush=True)
    return failed


if __name__ == "__main__":
    raise SystemExit(main())
