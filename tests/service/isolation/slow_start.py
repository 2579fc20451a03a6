"""A process that opens slides on a busy machine: its imports take longer than one slide may."""

from __future__ import annotations

import sys
import time

from wsigraph.service.isolation import worker

START_S = 5.0

if __name__ == "__main__":
    time.sleep(START_S)
    worker.main(sys.argv[1:])
