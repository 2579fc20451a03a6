"""Chunk size and number of threads that fit into a memory limit."""

from __future__ import annotations

from dask.system import CPU_COUNT

from wsigraph.config import Config
from wsigraph.graph.superpixel.segment import halo_px
from wsigraph.slide.map_boxes import plan_chunks


def within_memory(settings: Config) -> Config:
    """Return the settings with a chunk size and a number of threads that fit into ``runtime.memory_gb``.

    Parameters
    ----------
    settings : Config
        Settings; returned unchanged if ``runtime.memory_gb`` is 0.

    Returns
    -------
    Config
        The same settings with another ``runtime``.
    """
    runtime = settings.runtime
    if runtime.memory_gb == 0:
        return settings
    chunk_px, threads = plan_chunks(
        runtime.chunk_px, runtime.threads or CPU_COUNT, halo_px(settings.superpixel), runtime.memory_gb * 1e9
    )
    fitted = runtime.model_copy(update={"chunk_px": chunk_px, "threads": threads})
    return settings.model_copy(update={"runtime": fitted})
