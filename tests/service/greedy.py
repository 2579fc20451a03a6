"""A client that wants everything at once: ``python -m tests.service.greedy ADDRESS TOKEN JOB ABLATIONS UPLOADS``."""

from __future__ import annotations

import asyncio
import io
import json
import sys
import time

import httpx
import numpy as np
from PIL import Image


def picture() -> bytes:
    """A PNG of a few hundred kB that is slow to unpack for its size: 42 million pixels."""
    rng = np.random.default_rng(0)
    stream = io.BytesIO()
    cells = rng.integers(0, 256, (54, 54, 3), np.uint8)
    Image.fromarray(np.repeat(np.repeat(cells, 120, 0), 120, 1)).save(stream, "PNG", compress_level=3)
    return stream.getvalue()


async def ablate(client: httpx.AsyncClient, job_id: str, top: int) -> int:
    response = await client.post(f"/v1/jobs/{job_id}/ablation", json={"top": 1 + top % 40})
    return response.status_code


async def upload(client: httpx.AsyncClient, number: int, content: bytes) -> int:
    status = (await client.post("/v1/uploads", json={"name": f"{number}.png", "size": len(content)})).json()
    response = await client.patch(f"/v1/uploads/{status['upload_id']}", content=content, headers={"Upload-Offset": "0"})
    return response.status_code


async def main(address: str, token: str, job_id: str, n_ablations: int, n_uploads: int) -> None:
    limits = httpx.Limits(max_connections=400)
    async with httpx.AsyncClient(
        base_url=address, headers={"Authorization": f"Bearer {token}"}, timeout=300, limits=limits
    ) as client:
        content = picture()
        print(json.dumps({"png_bytes": len(content)}), flush=True)
        started = time.monotonic()
        uploads = [asyncio.create_task(upload(client, number, content)) for number in range(n_uploads)]
        ablations = [asyncio.create_task(ablate(client, job_id, number)) for number in range(n_ablations)]
        ablated = await asyncio.gather(*ablations)
        ablated_s = time.monotonic() - started
        uploaded = await asyncio.gather(*uploads)
    print(
        json.dumps({"ablations": ablated, "uploads": uploaded, "s": [ablated_s, time.monotonic() - started]}),
        flush=True,
    )


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4], *map(int, sys.argv[4:])))  # type: ignore[arg-type]
