"""Chunks and threads that fit into the memory that is given."""

from __future__ import annotations

from dask.system import CPU_COUNT

from wsigraph.config import Config
from wsigraph.graph.superpixel.segment import halo_px
from wsigraph.slide.map_boxes import plan_chunks


def within_memory(settings: Config) -> Config:
    """Return the settings with chunks and threads that fit into ``runtime.memory_gb``.

    Parameters
    ----------
    settings : Config
        With ``runtime.memory_gb`` above 0, or left as they are.

    Returns
    -------
    Config
        Only ``runtime`` differs.
    """
    runtime = settings.runtime
    if runtime.memory_gb == 0:
        return settings
    chunk_px, threads = plan_chunks(
        runtime.chunk_px, runtime.threads or CPU_COUNT, halo_px(settings.superpixel), runtime.memory_gb * 1e9
    )
    fitted = runtime.model_copy(update={"chunk_px": chunk_px, "threads": threads})
    return settings.model_copy(update={"runtime": fitted})
