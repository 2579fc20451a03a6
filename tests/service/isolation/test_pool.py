"""The processes that open slides: lost ones are replaced, late ones ended, hungry ones stopped; frames are plain."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.contexts import settings, write_slide
from tests.service.isolation.slow_start import START_S
from wsigraph.errors import NotFound, TooLarge, Unavailable, UnreadableSlide
from wsigraph.run.sandbox import protocol
from wsigraph.service.image_cache import EncodedImageCache
from wsigraph.service.isolation.pool import IsolationPool


@pytest.fixture(scope="module")
def pool() -> Iterator[IsolationPool]:
    made = IsolationPool(settings("service.slide_memory_gb=2", "service.decoded_max_mpx=1").service)
    yield made
    made.close()


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_slide(tmp_path_factory.mktemp("pool") / "s.tiff", 1200, 1300)


def picture(slide: Path, box: tuple[int, int, int, int] = (0, 0, 256, 256), downsample: int = 1) -> dict[str, object]:
    return {
        "op": "picture", "path": str(slide), "version": "1", "box": list(box), "downsample": downsample, "quality": 80,
    }  # fmt: skip


def process_of(pool: IsolationPool) -> int:
    return pool._all[0].start().pid


def test_a_process_that_dies_costs_one_request(pool: IsolationPool, slide: Path) -> None:
    assert pool.request(picture(slide))[1].startswith(b"\xff\xd8")
    lost, pid = pool.n_lost, process_of(pool)
    os.kill(pid, signal.SIGSTOP)
    threading.Timer(0.3, os.kill, (pid, signal.SIGKILL)).start()
    with pytest.raises(UnreadableSlide, match="crashed the process that read it"):
        pool.request(picture(slide))
    assert pool.n_lost == lost + 1
    assert pool.request(picture(slide))[1].startswith(b"\xff\xd8")
    assert process_of(pool) != pid


def test_a_process_that_hangs_is_ended_in_time(pool: IsolationPool, slide: Path) -> None:
    pool.request(picture(slide))
    os.kill(process_of(pool), signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(UnreadableSlide, match=r"took longer than 0\.5 s"):
        pool.request(picture(slide), time_s=0.5)
    assert time.monotonic() - began < 5
    assert pool.request(picture(slide))[1].startswith(b"\xff\xd8")


def test_the_start_of_a_process_does_not_count_against_a_slide() -> None:
    # a busy machine ended the check of every upload before its process had started
    pool = IsolationPool(settings().service, 1, module="tests.service.isolation.slow_start")
    try:
        assert pool.request({"op": "ping"}, time_s=START_S - 1.0) == ({}, b"")
        assert not pool.n_lost
    finally:
        pool.close()


def children_of(pid: int) -> list[dict[str, str]]:
    """Status of the processes that a process has forked."""
    found = []
    for task in Path("/proc").glob("[0-9]*/status"):
        status = dict(line.split(":", 1) for line in task.read_text().splitlines())
        if int(status["PPid"]) == pid:
            found.append({name: value.strip() for name, value in status.items()})
    return found


def test_each_slide_has_a_process_of_its_own_in_a_sandbox(pool: IsolationPool, slide: Path, tmp_path: Path) -> None:
    pool.request(picture(slide))
    pool.request(picture(write_slide(tmp_path / "other.tiff")))
    children = children_of(process_of(pool))
    assert len(children) >= 2
    for child in children:
        assert (child["NoNewPrivs"], child["Seccomp"], child["Threads"]) == ("1", "2", "1")
        if os.getuid() == 0:
            # another user, with the one right to read files, which Landlock limits to the slide
            assert set(child["Uid"].split()) == {"65534"}
            assert int(child["CapEff"], 16) == 1 << 2


def test_a_slide_that_crashes_its_process_costs_no_other(pool: IsolationPool, slide: Path, tmp_path: Path) -> None:
    pool.request(picture(slide))
    other, lost = write_slide(tmp_path / "crashes.tiff"), pool.n_lost
    before = {child["Pid"] for child in children_of(process_of(pool))}
    pool.request(picture(other))
    (started,) = {child["Pid"] for child in children_of(process_of(pool))} - before
    os.kill(int(started), signal.SIGKILL)
    with pytest.raises(UnreadableSlide, match="crashed the process that read it"):
        pool.request(picture(other))
    assert pool.n_lost == lost + 1
    assert pool.request(picture(other))[1].startswith(b"\xff\xd8")
    assert before <= {child["Pid"] for child in children_of(process_of(pool))}


def test_more_pixels_than_allowed_are_not_decoded(pool: IsolationPool, slide: Path) -> None:
    with pytest.raises(TooLarge, match=r"service\.decoded_max_mpx"):
        pool.request(picture(slide, (0, 0, 600, 650), 2))


def test_more_memory_than_allowed_is_refused_and_the_process_lives_on(pool: IsolationPool, slide: Path) -> None:
    # a box far outside the slide holds no pixel that would be decoded, but room for 3 GB
    pid = process_of(pool)
    with pytest.raises((TooLarge, UnreadableSlide)):
        pool.request(picture(slide, (0, 0, 30_000, 33_000)))
    assert pool.request(picture(slide))[1].startswith(b"\xff\xd8")
    assert process_of(pool) == pid


def test_errors_keep_their_class_and_words(pool: IsolationPool, tmp_path: Path) -> None:
    with pytest.raises(UnreadableSlide, match="does not exist; check the path"):
        pool.request({"op": "describe", "path": str(tmp_path / "none.svs")})
    with pytest.raises(UnreadableSlide, match="KeyError"):
        pool.request({"op": "nonsense"})


def test_a_closed_pool_says_so(slide: Path) -> None:
    pool = IsolationPool(settings().service)
    pool.close()
    with pytest.raises(Unavailable):
        pool.request(picture(slide))


def test_frames_come_back_and_broken_ones_are_refused() -> None:
    stream = io.BytesIO()
    protocol.send_message(stream, {"a": [1, None, "ü"]}, b"\0\1")
    stream.seek(0)
    assert protocol.receive_message(stream) == ({"a": [1, None, "ü"]}, b"\0\1")
    with pytest.raises(EOFError):
        protocol.receive_message(stream)
    with pytest.raises(ValueError, match="expected at most"):
        protocol.receive_message(io.BytesIO(b"\xff" * 8))
    with pytest.raises(ValueError, match="not a JSON object"):
        protocol.receive_message(io.BytesIO(b"\0\0\0\2\0\0\0\0[]"))


def test_pictures_are_made_once_and_kept_within_a_bound() -> None:
    kept, made = EncodedImageCache(1000), []

    def make(size: int) -> bytes:
        made.append(size)
        time.sleep(0.05)
        return bytes(size)

    threads = [threading.Thread(target=lambda: kept.get_or_create("a", lambda: make(400))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [400]
    for name in "bcd":
        kept.get_or_create(name, lambda: make(400))
        assert kept.n_bytes <= 1000
    assert kept.find("a") is None
    assert kept.find("d") == bytes(400)
    kept.get_or_create("huge", lambda: make(2000))
    assert kept.find("huge") is None

    def fail() -> bytes:
        raise NotFound("no")

    for _ in range(2):
        with pytest.raises(NotFound):
            kept.get_or_create("e", fail)
    assert kept.get_or_create("e", lambda: b"x") == b"x"


def test_slides_are_read_by_the_settings(tmp_path: Path) -> None:
    import numpy as np
    import tifffile

    deep = np.random.default_rng(1).integers(400, 4496, (300, 300, 3)).astype(np.uint16)
    path = tmp_path / "deep.tiff"
    tifffile.imwrite(path, deep, tile=(256, 256), photometric="rgb", compression="zlib", metadata=None)
    asked = {"op": "describe", "path": str(path)}
    chosen = settings("slide.window=[400,4495]")
    for config, is_read in ((settings(), False), (chosen, True)):
        made = IsolationPool(config.service, slide=config.slide)
        try:
            if not is_read:
                with pytest.raises(UnreadableSlide, match="16 bits; state which levels"):
                    made.request(asked)
                continue
            assert made.request(asked)[0]["window"] == [400, 4495]
            assert made.request(picture(path))[1].startswith(b"\xff\xd8")
        finally:
            made.close()


def test_images_are_kept_apart_by_how_slides_are_read(tmp_path: Path) -> None:
    from types import SimpleNamespace

    from wsigraph.service.image_cache import SlideImages
    from wsigraph.service.image_store import ImageStore

    entry = SimpleNamespace(version="1")
    versions = {
        SlideImages(None, config.service, ImageStore(tmp_path, 1000), config.slide).version(entry)  # type: ignore[arg-type]
        for config in (settings(), settings("slide.window=[400,4495]"), settings("slide.icc=apply"))
    }
    assert len(versions) == 3
