"""``wsigraph status``: the progress of a run, from another terminal or after a crash."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsigraph.cli.failure import Debug, ends_plainly
from wsigraph.cli.options import AsJson

if TYPE_CHECKING:
    from wsigraph.run.batch.run_state import ClientState

_Directory = Annotated[str, typer.Argument(metavar="DIR", help="The --out directory of a run.", show_default=False)]


@ends_plainly
def status(directory: _Directory, as_json: AsJson = False, debug: Debug = False) -> None:
    """Show the progress of the runs in a directory: slides done, failed and in progress, and the dashboard's address.

    Reads the state files of the clients, which a running client replaces every two seconds. It changes nothing.
    """
    from wsigraph.run.batch.run_state import held_slides, read_states

    states, held = read_states(Path(directory)), held_slides(Path(directory))
    if as_json:
        print(json.dumps({"runs": [asdict(state) for state in states], "held": held}, allow_nan=False))
        return
    latest = [state for state in states if state.status in ("running", "silent")] or states[:1]
    print("\n\n".join(_table(state) for state in latest))
    if held:
        more = f" and {len(held) - 10} more" if len(held) > 10 else ""
        print(f"\n{'leases':<16} {', '.join(held[:10])}{more}")


def _table(state: ClientState) -> str:
    from wsigraph.cli.watch import duration, headline

    content = state.content
    status = f"{state.status}, last written {duration(state.age_s)} ago"
    if state.status in ("killed", "interrupted", "stopped"):
        status += "; run the same command again to continue"
    rows = [
        ("run", f"{state.run_id} of {content['manifest']}"),
        ("state", status),
        ("slides", headline(content if state.status == "running" else {**content, "seconds_left": None})),
        ("up to", f"{content['until']}, on {content['cluster']}"),
    ]
    if state.status == "running" and content.get("dashboard"):
        rows.append(("dashboard", content["dashboard"]))
    is_open = state.status in ("running", "silent", "killed")
    rows += [
        (f"  {slide['slide_id']}", f"{_step(slide)} {100 * slide['fraction']:.0f} % on {slide['worker']}")
        for slide in (content.get("active", []) if is_open else [])
    ]
    rows += [
        (f"  {failure['slide_id']}", f"failed in {_step(failure)}: {failure['error']}: {failure['message']}")
        for failure in content["failures"][-10:]
    ]
    return "\n".join(f"{name:<16} {value}" for name, value in rows)


def _step(row: dict[str, Any]) -> str:
    """Return the step of a slide; earlier versions wrote it as ``stage``."""
    return str(row.get("step", row.get("stage", "")))
