"""Leases: one owner at a time, shown to be alive, taken over when stale, never by a clock."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from threading import Barrier, Thread

import pytest

from wsigraph.errors import LeaseLost, StoreError
from wsigraph.run.batch.lease import Holder, Lease, acquire, host_identity, is_gone, read_holder


def held(path: Path, run_id: str = "mine", **options: object) -> Lease:
    lease = acquire(path, run_id, **{"beat_s": 0.02, **options})  # type: ignore[arg-type]
    assert isinstance(lease, Lease)
    return lease


def strange(path: Path, **changes: object) -> Holder:
    """Write a lease of another machine and return what it shows."""
    content = {"run_id": "theirs", "host": "elsewhere pid:[1]", "process": 1, "nonce": "n1", **changes}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    holder = read_holder(path)
    assert holder is not None
    return holder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "leases" / "slide.json"


def test_one_at_a_time(path: Path) -> None:
    with held(path) as lease:
        met = acquire(path, "theirs", beat_s=1.0)
        assert isinstance(met, Holder)
        assert (met.run_id, met.process, met.host) == ("mine", os.getpid(), host_identity())
        lease.check()
    assert not path.exists()
    held(path, "theirs").release()


def test_it_shows_life_until_it_is_released(path: Path) -> None:
    lease = held(path)
    shown = {read_holder(path).beat_ns for _ in range(20) if time.sleep(0.01) is None}  # type: ignore[union-attr]
    assert len(shown) > 3
    lease.release()
    assert read_holder(path) is None


def test_a_lease_of_a_dead_process_of_this_machine_is_taken_at_once(path: Path) -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    process = int(gone.stdout)
    assert is_gone(host_identity(), process)
    assert not is_gone("elsewhere", process)
    assert not is_gone(host_identity(), os.getpid())
    strange(path, host=host_identity(), process=process)
    held(path).release()


def test_another_attempt_of_the_same_run_takes_over_and_the_first_notices(path: Path) -> None:
    first = held(path)
    second = held(path)
    time.sleep(0.1)
    with pytest.raises(LeaseLost, match="taken over"):
        first.check()
    second.check()
    first.release()
    assert path.exists(), "the loser removed the winner's lease"
    second.release()


def test_a_lease_is_stale_only_where_it_shows_the_same_as_before(path: Path) -> None:
    before = strange(path)
    assert acquire(path, "mine", beat_s=1.0) == before
    os.utime(path, ns=(before.beat_ns - 10**12, before.beat_ns - 10**12))  # however old its clock says it is
    assert isinstance(acquire(path, "mine", beat_s=1.0, seen_stale=before), Holder)
    now = read_holder(path)
    held(path, seen_stale=now).release()


def test_a_lease_that_was_replaced_meanwhile_is_put_back(path: Path) -> None:
    from wsigraph.run.batch import lease as module

    before = strange(path)
    after = strange(path, nonce="n2")
    module._remove(path, before)
    assert read_holder(path) == after
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_torn_lease_is_nobodys_and_can_be_taken_when_stale(path: Path) -> None:
    path.parent.mkdir()
    path.write_text('{"run_')
    met = acquire(path, "mine", beat_s=1.0)
    assert isinstance(met, Holder)
    assert (met.run_id, met.nonce) == ("", "")
    held(path, seen_stale=met).release()


def test_of_many_that_come_at_once_one_gets_it(path: Path) -> None:
    for _ in range(20):
        start = Barrier(8)
        found: list[Lease | Holder] = []

        def come(number: int, start: Barrier = start, found: list[Lease | Holder] = found) -> None:
            start.wait()
            found.append(acquire(path, f"run{number}", beat_s=1.0))

        threads = [Thread(target=come, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        leases = [each for each in found if isinstance(each, Lease)]
        assert len(leases) == 1
        leases[0].release()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write"):
        acquire(tmp_path / "file" / "slide.json", "mine", beat_s=1.0)
