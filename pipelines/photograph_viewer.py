"""Screenshots of the viewer: ``python -m pipelines.photograph_viewer --slide SLIDE --out docs/viewer``.

Serves a directory with the slide, explains its risk, opens the viewer in headless Chromium and saves four images of
it: light with a region, an ablation, dark and side by side, and on a tablet. Needs playwright and
Chromium.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from wsigraph.service.client import Client

DESKTOP, TABLET = {"width": 1440, "height": 900}, {"width": 820, "height": 1180}
_READY_MS, _REST_MS = 120_000, 900


def main(arguments: list[str] | None = None) -> int:
    """Serve, explain, look and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slide", type=Path, required=True, help="the slide to show")
    parser.add_argument("--out", type=Path, required=True, help="directory of the pictures")
    parser.add_argument("--chromium", default="/usr/bin/chromium", help="the browser")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as data:
        shutil.copy(options.slide, data)
        command = [sys.executable, "-m", "wsigraph", "serve", "--data", data, "--port", "0", "--workers", "1"]
        service = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)  # noqa: S603 - our own command
        try:
            address = _address(service)
            job = _explain(address, options.slide.stem)
            for path in _photograph(address, job, options.out, options.chromium):
                print(path)
        finally:
            service.terminate()
            service.wait(30)
    return 0


def _address(service: subprocess.Popen[str]) -> str:
    for line in service.stderr or ():
        match = re.search(r"http://[0-9.:]+", line)
        if match:
            return match[0]
    raise SystemExit("the service ended before it listened")


def _explain(address: str, slide_id: str) -> str:
    with Client(address) as client:
        job: dict[str, Any] = client.start(slide_id, kind="explain", target="risk")
        done: dict[str, Any] = client.wait(job["job_id"])
    return str(done["job_id"])


def _photograph(address: str, job: str, out: Path, chromium: str) -> list[Path]:
    from playwright.sync_api import sync_playwright

    paths = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])

        def keep(name: str, link: str, *keys: str, size: dict[str, int] = DESKTOP, scheme: Any = "light") -> None:
            context = browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
            page = context.new_page()
            page.goto(f"{address}/#job={job}&{link}")
            page.wait_for_selector("body[data-ready]", timeout=_READY_MS)
            page.wait_for_selector("#prediction .bars", state="attached", timeout=_READY_MS)
            for key in keys:
                page.keyboard.press(key)
            page.wait_for_load_state("networkidle")
            page.wait_for_timeout(_REST_MS)
            paths.append(out / f"{name}.jpeg")
            page.screenshot(path=paths[-1], type="jpeg", quality=82)
            context.close()

        keep("region", "", "n")
        keep("ablation", "remove=8")
        keep("side-by-side", "second=stage", scheme="dark")
        keep("tablet", "colour=nuclear_density", size=TABLET)
        browser.close()
    return paths


if __name__ == "__main__":
    raise SystemExit(main())
