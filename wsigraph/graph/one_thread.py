"""One thread for torch and for numpy's linear algebra, so that sums have one order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from threadpoolctl import threadpool_limits


@contextmanager
def one_thread(*, blas: bool = True) -> Iterator[None]:
    """Run torch and numpy's linear algebra with one thread inside the block, and restore the numbers afterwards.

    Sums then have one order, so results are bit-identical whatever the machine's number of cores. Arrays of this size
    gain nothing from more threads, and threads that wait for one another on a busy machine cost thirty times the work.

    Parameters
    ----------
    blas : bool
        Limit numpy's linear algebra too. That limit belongs to the process, whereas torch's belongs to the calling
        thread: leave it out where several threads enter and leave at their own times and use torch alone.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, user_api="blas") if blas else nullcontext():
            yield
    finally:
        torch.set_num_threads(before)
