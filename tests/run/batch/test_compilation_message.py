"""The workers of a run say that they compile, and the command shows it once."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from wsigraph.cli.watch import _lines, _step_text
from wsigraph.compilation import MESSAGE
from wsigraph.run.batch.running_slide import RunningSlide


def test_the_message_of_a_worker_is_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    slide = RunningSlide(run_id="run")
    slide.update_progress({"stage": "segment", "done": 1, "total": 2, "worker": "here"})
    write_line = _lines(report_s=1e9)
    write_line(SimpleNamespace(), [slide])  # type: ignore[arg-type,list-item]
    assert capsys.readouterr().err == ""
    slide.update_progress({"stage": "segment", "done": 0, "total": 1, "worker": "here", "compiling": 7})
    write_line(SimpleNamespace(), [slide])  # type: ignore[arg-type,list-item]
    write_line(SimpleNamespace(), [slide])  # type: ignore[arg-type,list-item]
    assert capsys.readouterr().err == f"wsigraph: {MESSAGE}\n"
    assert slide.fraction == 0.5, "compiling is no progress of the step"
    assert _step_text(slide) == f"segment ({MESSAGE}: 7 functions)"  # type: ignore[arg-type]
    slide.update_progress({"stage": "segment", "done": 2, "total": 2, "worker": "here"})
    assert _step_text(slide) == "segment"  # type: ignore[arg-type]
