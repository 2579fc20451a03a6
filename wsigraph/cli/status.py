"""``wsigraph status``: how a run stands, from another terminal, also after a crash."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wsigraph.cli.failure import Debug, ends_plainly
from wsigraph.cli.options import AsJson

if TYPE_CHECKING:
    from wsigraph.run.batch.run_state import ClientState

_Directory = Annotated[str, typer.Argument(metavar="DIR", help="The --out directory of a run.", show_default=False)]


@ends_plainly
def status(directory: _Directory, as_json: AsJson = False, debug: Debug = False) -> None:
    """Tell how the runs in a directory stand: slides done and failed, what is worked on, the dashboard's address.

    Reads what each client wrote last, at most two seconds ago while it lives; nothing is changed.
    """
    from wsigraph.run.batch.run_state import held_slides, read_states

    states, held = read_states(Path(directory)), held_slides(Path(directory))
    if as_json:
        print(json.dumps({"runs": [asdict(state) for state in states], "held": held}, allow_nan=False))
        return
    latest = [state for state in states if state.standing in ("running", "silent")] or states[:1]
    print("\n\n".join(_table(state) for state in latest))
    if held:
        more = f" and {len(held) - 10} more" if len(held) > 10 else ""
        print(f"\n{'leases':<16} {', '.join(held[:10])}{more}")


def _table(state: ClientState) -> str:
    from wsigraph.cli.watch import duration, headline

    told = state.told
    standing = f"{state.standing}, last sign of life {duration(state.age_s)} ago"
    if state.standing in ("killed", "interrupted", "stopped"):
        standing += "; run the same command again to go on"
    rows = [
        ("run", f"{state.run_id} of {told['manifest']}"),
        ("state", standing),
        ("slides", headline(told if state.standing == "running" else {**told, "seconds_left": None})),
        ("up to", f"{told['until']}, on {told['cluster']}"),
    ]
    if state.standing == "running" and told.get("dashboard"):
        rows.append(("dashboard", told["dashboard"]))
    is_open = state.standing in ("running", "silent", "killed")
    rows += [
        (f"  {each['slide_id']}", f"{each['stage']} {100 * each['fraction']:.0f} % on {each['worker']}")
        for each in (told.get("active", []) if is_open else [])
    ]
    rows += [
        (f"  {each['slide_id']}", f"failed in {each['stage']}: {each['error']}: {each['message']}")
        for each in told["failures"][-10:]
    ]
    return "\n".join(f"{name:<16} {value}" for name, value in rows)
