"""Encoded images of slides: rendered in an isolated process, then cached in memory up to a fixed size.

Thumbnails, the lowest tiles and the metadata are also kept on disk (`wsigraph.service.image_store`).
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Hashable, Iterable
from typing import Any

from cachetools import LRUCache

import wsigraph
from wsigraph.config import ServiceConfig, SlideConfig
from wsigraph.errors import NotFound, TooLarge
from wsigraph.geometry import Box, Size
from wsigraph.service.catalogue import Entry
from wsigraph.service.deepzoom import DeepZoom
from wsigraph.service.image_store import ImageStore
from wsigraph.service.isolation.pool import IsolationPool

_THUMBNAIL_PX = 512
_MAX_DESCRIPTIONS = 4096
LOWEST_LEVELS = 12
"""Number of Deep Zoom levels whose tiles are kept on disk: those of at most 2048 px a side."""
_DESCRIPTION = "slide.json"
REGION_MAX_PX = 4096
"""Largest side of a region, px."""


class EncodedImageCache:
    """A least-recently-used cache of encoded images. It is safe to use from several threads.

    Parameters
    ----------
    max_bytes : int
        Largest total size of the cached images.

    Attributes
    ----------
    n_found, n_made : int
        Number of cache hits, and of images that had to be made.
    """

    def __init__(self, max_bytes: int) -> None:
        self.n_found = self.n_made = 0
        self._images: LRUCache[Hashable, bytes] = LRUCache(max_bytes, getsizeof=len)
        self._making: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    @property
    def n_bytes(self) -> int:
        """Total size of the cached images."""
        return int(self._images.currsize)

    def find(self, key: Hashable) -> bytes | None:
        """Return the image cached under `key`, or None."""
        with self._lock:
            image = self._images.get(key)
            if image is not None:
                self.n_found += 1
            return image

    def get_or_create(self, key: Hashable, make: Callable[[], bytes]) -> bytes:
        """Return the image cached under `key`. If several threads ask at once, only one of them makes it.

        Parameters
        ----------
        key : hashable
            Cache key.
        make : callable
            Returns the image. Called when it is not cached.

        Returns
        -------
        bytes
            The encoded image.
        """
        with self._lock:
            key_lock = self._making.setdefault(key, threading.Lock())
        with key_lock:
            image = self.find(key)
            if image is None:
                try:
                    image = make()
                finally:
                    with self._lock:
                        self._making.pop(key, None)
                self._add(key, image)
            return image

    def _add(self, key: Hashable, image: bytes) -> None:
        with self._lock:
            self.n_made += 1
            # the cache raises for a value that is larger than all of it
            if len(image) <= self._images.maxsize and key not in self._images:
                self._images[key] = image


class DescriptionCache:
    """A least-recently-used cache of JSON values. It is safe to use from several threads.

    Parameters
    ----------
    max_entries : int
        Largest number of values.
    """

    def __init__(self, max_entries: int) -> None:
        self._values: LRUCache[Hashable, dict[str, Any]] = LRUCache(max_entries)
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> dict[str, Any] | None:
        """Return the value cached under `key`, or None."""
        with self._lock:
            return self._values.get(key)

    def __setitem__(self, key: Hashable, value: dict[str, Any]) -> None:
        with self._lock:
            self._values[key] = value


class SlideImages:
    """Renders and caches tiles, thumbnails and associated images of slides.

    Parameters
    ----------
    pool : IsolationPool
        Processes that open the slides.
    config : ServiceConfig
        Tile size, JPEG quality and size of the cache.
    kept : ImageStore
        Images on disk.
    slide : SlideConfig
        How the processes read slides.
    """

    def __init__(self, pool: IsolationPool, config: ServiceConfig, kept: ImageStore, slide: SlideConfig) -> None:
        self._pool, self._config, self._kept = pool, config, kept
        # what changes the bytes of an image besides its slide
        form = (config.tile_px, config.tile_overlap_px, config.tile_quality, slide.z, slide.icc, slide.window)
        self._form = f"{form} {wsigraph.__version__}"
        self.encoded = EncodedImageCache(int(config.tile_cache_mb * 1e6))
        self._descriptions = DescriptionCache(_MAX_DESCRIPTIONS)

    def describe(self, entry: Entry) -> dict[str, Any]:
        """Return the metadata of a slide (``wsigraph.slide.inspection.inspect``) without its path and digest.

        Raises
        ------
        SlideError
            If the slide cannot be read.
        TooLarge
            If it has more pixels than allowed.
        """
        description = self._descriptions.get(entry.version)
        if description is None:
            version = self.version(entry)
            stored = self._kept.read(version, _DESCRIPTION)
            if stored is None:
                response, _ = self._pool.request({"op": "describe", "path": str(entry.path)})
                stored = json.dumps(
                    {name: value for name, value in response.items() if name not in ("path", "sha256")}
                ).encode()
                self._keep(entry, _DESCRIPTION, stored)
            description = json.loads(stored)
            self._descriptions[entry.version] = description
        return description

    def has_description(self, entry: Entry) -> bool:
        """Return whether the metadata of a slide is known without opening it."""
        if self._descriptions.get(entry.version) is None:
            stored = self._kept.read(self.version(entry), _DESCRIPTION)
            if stored is None:
                return False
            self._descriptions[entry.version] = json.loads(stored)
        return True

    def version(self, entry: Entry) -> str:
        """Return the version of the images of a slide. It changes with the slide and with the settings of images."""
        return hashlib.sha256(f"{entry.version} {self._form}".encode()).hexdigest()[:16]

    def forget(self, entry: Entry) -> None:
        """Remove the images of a slide from the disk."""
        self._kept.remove(self.version(entry))

    def keep_only(self, entries: Iterable[Entry]) -> None:
        """Remove the images of slides that no longer exist from the disk."""
        self._kept.keep_only({self.version(entry) for entry in entries})

    def pyramid(self, entry: Entry) -> DeepZoom:
        """Return the Deep Zoom pyramid of a slide.

        Raises
        ------
        SlideError
            If the slide cannot be read.
        """
        size = self.describe(entry)["size"]
        return DeepZoom(
            size=Size(size["height"], size["width"]),
            tile_px=self._config.tile_px,
            overlap_px=self._config.tile_overlap_px,
        )

    def cached_tile(self, entry: Entry, level: int, col: int, row: int) -> bytes | None:
        """Return a tile if it is cached in memory, else None."""
        return self.encoded.find((entry.version, level, col, row))

    def stored_tile(self, entry: Entry, level: int, col: int, row: int) -> bytes | None:
        """Return a tile if it is kept on disk, else None. Never opens the slide."""
        if level >= LOWEST_LEVELS:
            return None
        return self._from_disk(entry, (entry.version, level, col, row), _tile_name(level, col, row))

    def tile(self, entry: Entry, level: int, col: int, row: int) -> bytes:
        """Return a Deep Zoom tile as JPEG.

        Raises
        ------
        NotFound
            If there is no such tile.
        SlideError
            If the slide cannot be read.
        TooLarge
            If too many pixels would have to be decoded.
        """
        pyramid = self.pyramid(entry)
        box = pyramid.box(level, col, row)

        def make() -> bytes:
            return self._render(entry, (box.y0, box.x0, box.y1, box.x1), pyramid.downsample(level))

        if level < LOWEST_LEVELS:
            return self._kept_or_made(entry, (entry.version, level, col, row), _tile_name(level, col, row), make)
        return self.encoded.get_or_create((entry.version, level, col, row), make)

    def thumbnail(self, entry: Entry) -> bytes:
        """Return the whole slide as JPEG. Its longer side has 257 to 512 pixels.

        Raises
        ------
        SlideError
            If the slide cannot be read.
        TooLarge
            If too many pixels would have to be decoded.
        """
        pyramid = self.pyramid(entry)
        level = next(
            level for level in reversed(range(pyramid.n_levels)) if max(_sides(pyramid, level)) <= _THUMBNAIL_PX
        )
        size = pyramid.level_size(level)

        def make() -> bytes:
            return self._render(entry, (0, 0, size.height, size.width), pyramid.downsample(level))

        return self._kept_or_made(entry, (entry.version, "thumbnail"), "thumbnail.jpeg", make)

    def stored_thumbnail(self, entry: Entry) -> bytes | None:
        """Return a thumbnail if it is cached or kept on disk, else None. Never opens the slide."""
        key = (entry.version, "thumbnail")
        return self.encoded.find(key) or self._from_disk(entry, key, "thumbnail.jpeg")

    def region(self, entry: Entry, corner: tuple[int, int], size: tuple[int, int], scale: float) -> bytes:
        """Return a region of a slide at any scale as JPEG. The result is not cached.

        Parameters
        ----------
        entry : Entry
            The slide.
        corner : tuple of int
            x and y of its top left corner in level-0 px.
        size : tuple of int
            Width and height in level-0 px.
        scale : float
            Output pixels along one level-0 pixel, at most 1.

        Returns
        -------
        bytes
            JPEG of round(width * scale) by round(height * scale) pixels. White outside the slide.

        Raises
        ------
        SlideError
            If the slide cannot be read.
        TooLarge
            If it has more pixels along a side than allowed, or too many would have to be decoded.
        """
        x, y = (round(value * scale) for value in corner)
        width, height = (max(1, round(value * scale)) for value in size)
        if max(width, height) > REGION_MAX_PX:
            raise TooLarge(
                f"the region has {width} x {height} pixels, more than {REGION_MAX_PX} along a side; give a smaller "
                "scale, w or h"
            )
        return self._render(entry, (y, x, y + height, x + width), 1.0 / scale)

    def resized(self, entry: Entry, region: Box, size: Size, downsample: float) -> bytes:
        """Return a region of a slide at a size as JPEG.

        Parameters
        ----------
        entry : Entry
            The slide.
        region : Box
            Level-0 pixels.
        size : Size
            Size of the result, px.
        downsample : float
            Number of level-0 pixels along one pixel that is read. The result is resampled if it is of another size.

        Returns
        -------
        bytes
            JPEG.
        """
        x0, y0 = round(region.x0 / downsample), round(region.y0 / downsample)
        width, height = (max(1, -int(-side // downsample)) for side in (region.width, region.height))
        box = (y0, x0, y0 + height, x0 + width)
        key = (entry.version, "resized", box, downsample, size)
        return self.encoded.get_or_create(key, lambda: self._render(entry, box, downsample, size))

    def part(self, entry: Entry, box: tuple[int, int, int, int], downsample: int) -> bytes:
        """Return a part of a slide as JPEG. The result is not cached.

        Parameters
        ----------
        entry : Entry
            The slide.
        box : tuple of int
            y0, x0, y1, x1 in pixels at `downsample`. White outside the slide.
        downsample : int
            Number of level-0 pixels along one output pixel. A power of two.

        Returns
        -------
        bytes
            JPEG.
        """
        return self._render(entry, box, downsample)

    def associated(self, entry: Entry, name: str) -> bytes:
        """Return the label, macro or another associated image of a slide as JPEG.

        Raises
        ------
        NotFound
            If there is no such image.
        """
        if name not in self.describe(entry)["associated"]:
            raise NotFound(f"slide {entry.slide_id!r} has no image {name!r}; GET /v1/slides/SLIDE_ID lists its images")
        request = {"op": "associated", "path": str(entry.path), "name": name}
        return self.encoded.get_or_create((entry.version, "associated", name), lambda: self._pool.request(request)[1])

    def _kept_or_made(self, entry: Entry, key: Hashable, name: str, make: Callable[[], bytes]) -> bytes:
        def find() -> bytes:
            image = self._kept.read(self.version(entry), name)
            if image is None:
                image = make()
                self._keep(entry, name, image)
            return image

        return self.encoded.get_or_create(key, find)

    def _from_disk(self, entry: Entry, key: Hashable, name: str) -> bytes | None:
        image = self._kept.read(self.version(entry), name)
        return None if image is None else self.encoded.get_or_create(key, lambda: image)

    def _keep(self, entry: Entry, name: str, content: bytes) -> None:
        # a file that was replaced meanwhile may have been read in its new version
        if entry.is_current():
            self._kept.write(self.version(entry), name, content)

    def _render(
        self, entry: Entry, box: tuple[int, int, int, int], downsample: float, size: Size | None = None
    ) -> bytes:
        request = {
            "op": "picture",
            "path": str(entry.path),
            "version": entry.version,
            "box": list(box),
            "downsample": downsample,
            "quality": self._config.tile_quality,
        }
        if size is not None:
            request["size"] = [size.height, size.width]
        return self._pool.request(request)[1]


def _sides(pyramid: DeepZoom, level: int) -> tuple[int, int]:
    size = pyramid.level_size(level)
    return size.height, size.width


def _tile_name(level: int, col: int, row: int) -> str:
    return f"{level}-{col}_{row}.jpeg"
