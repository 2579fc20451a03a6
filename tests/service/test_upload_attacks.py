"""Uploads that would make a reader open other files of the machine: each is sent over HTTP, and refused."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import openslide
import pytest
from PIL import Image

from tests.service.contexts import make_context, settings
from tests.service.foreign import RED, attacks, dicom_and_vms, ome_part, tiff, vms, write_secret
from tests.service.serving import serving
from tests.service.test_supervisor import until
from wsigraph.errors import UnreadableSlide
from wsigraph.service.context import ServiceContext
from wsigraph.service.jobs.schema import FAILED, new_job
from wsigraph.service.jobs.supervisor import JobSupervisor
from wsigraph.slide.self_contained import check_self_contained

NAMES = (
    "VMS index as .tif",
    "VMS index as .tiff",
    "VMS index as .svs",
    "VMS index as .ndpi",
    "VMS index as .scn",
    "VMS index as .bif",
    "VMS index as .dcm",
    "VMS index as .czi",
    "VMS index as .png",
    "VMS index as .jpg",
    "VMS index as .jpeg",
    "VMU index",
    "VMS index after a comment",
    "DICOM that is a VMS index",
    "MIRAX index",
    "MIRAX index as NDPI",
    "OME-TIFF of a set",
    "OME-TIFF of a set without a UUID of its own",
    "OME-TIFF with a companion file",
    "OME-TIFF with external data",
    "companion file itself",
    "damaged OME-XML",
    "XML with an entity",
    "Olympus VSI",
    "DICOMDIR",
    "DICOM with pixels on a server",
    "part of a CZI",
    "ZIP with a link",
    "ZIP with a link as a picture",
    "SQLite",
    "list of paths",
    "link as text",
    "SVG picture",
    "PostScript",
    "JPEG as TIFF",
    "TIFF as JPEG",
)


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture that lies elsewhere on the machine."""
    return write_secret(tmp_path_factory.mktemp("elsewhere"))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> ServiceContext:
    return make_context(tmp_path_factory.mktemp("data"), serves_associated=True)


@pytest.fixture(scope="module")
def address(service: ServiceContext) -> Iterator[httpx.Client]:
    """A client of the service, on a socket."""
    with serving(service) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


def send(client: httpx.Client, name: str, content: bytes) -> httpx.Response:
    begun = client.post("/v1/uploads", json={"name": name, "size": len(content)})
    if begun.is_error:
        return begun
    address = f"/v1/uploads/{begun.json()['upload_id']}"
    response = client.patch(address, content=content, headers={"Upload-Offset": "0"})
    for _ in range(6):
        if response.status_code != 202:
            break
        response = client.patch(address, headers={"Upload-Offset": str(len(content))})
    return response


@pytest.mark.parametrize("build", [vms, dicom_and_vms])
def test_the_index_does_show_a_picture_that_lies_elsewhere(
    secret: Path, tmp_path: Path, build: Callable[[Path], bytes]
) -> None:
    """The attack is a real one: without the check, OpenSlide follows it whatever the file is called."""
    path = tmp_path / "slide.dcm"
    path.write_bytes(build(secret))
    with openslide.OpenSlide(str(path)) as handle:
        assert np.allclose(np.asarray(handle.read_region((0, 0), 0, (8, 8)))[..., :3], RED, atol=3)
        assert set(handle.associated_images) == {"macro"}


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_may_name_others_is_refused_by_its_content(
    address: httpx.Client, service: ServiceContext, secret: Path, tmp_path: Path, name: str
) -> None:
    suffix, content = attacks(tmp_path, secret)[name]
    response = send(address, f"slide{suffix}", content)
    assert (response.status_code, response.json()["title"]) == (422, "UnreadableSlide"), response.text
    assert f"slide 'slide{suffix}' is refused as an upload: " in response.json()["detail"]
    assert "put slides of several files into the data directory" in response.json()["detail"]
    assert str(service.state) not in response.text
    assert address.get("/v1/slides").json()["slides"] == []
    # a verdict ends the upload: nothing of it is left
    assert [path.name for path in (service.state / "uploads").rglob("slide*")] == []


@pytest.mark.parametrize(
    "name", ["a.vms", "a.vmu", "a.mrxs", "a.vsi", "a.svslide", "a.zarr", "a.zip", "a.afi", "a.tif.vms", "a.TIF/x.vms"]
)
def test_a_suffix_of_several_files_is_refused_before_its_bytes(address: httpx.Client, name: str) -> None:
    response = send(address, name, b"II*\0")
    assert response.status_code == 422
    assert "are placed in the data directory" in response.json()["detail"]


def test_slides_of_one_file_are_taken(address: httpx.Client, small_slide: Path, tmp_path: Path) -> None:
    own = "urn:uuid:11111111-0000-4000-8000-000000000000"
    picture = io.BytesIO()
    Image.new("RGB", (300, 200), RED).save(picture, "PNG")
    photo = io.BytesIO()
    Image.new("RGB", (300, 200), RED).save(photo, "JPEG")
    sound = {
        "a.svs": small_slide.read_bytes(),
        "b.tiff": tiff(tmp_path, "nothing"),
        # Bio-Formats writes a file's own name into it, which is another's once it is renamed
        "c.ome.tif": tiff(tmp_path, ome_part(Path("was-once.ome.tif"), own, own)),
        "big.tif": tiff(tmp_path, "nothing", bigtiff=True),
        "d.png": picture.getvalue(),
        "e.JPG": photo.getvalue(),
    }
    for name, content in sound.items():
        response = send(address, name, content)
        assert response.status_code == 201, (name, response.text)
        slide_id = response.json()["slide_id"]
        assert address.get(f"/v1/slides/{slide_id}/thumbnail.jpeg").status_code == 200
        assert address.delete(f"/v1/slides/{slide_id}").status_code == 204


@pytest.fixture
def older(tmp_path: Path, secret: Path) -> Iterator[ServiceContext]:
    """A service that has taken a VMS index for a slide, as earlier versions did."""
    place = tmp_path / "data" / ".wsigraph" / "uploads" / ("0" * 20)
    place.mkdir(parents=True)
    (place / "slide.tif").write_bytes(vms(secret))
    note = {"upload_id": place.name, "name": "a.tif", "file": "slide.tif", "size": 9, "owner": "o", "slide_id": "a~0"}
    (place / "upload.json").write_text(json.dumps(note))
    opened = make_context(tmp_path / "data", serves_associated=True)
    yield opened
    opened.close()


def test_what_an_earlier_version_took_is_not_shown(older: ServiceContext) -> None:
    with serving(older) as url, httpx.Client(base_url=url, timeout=60) as client:
        assert [each["slide_id"] for each in client.get("/v1/slides").json()["slides"]] == ["a~0"]
        for below in ("", "/dzi", "/thumbnail.jpeg", "/tiles/10/0_0.jpeg", "/associated/macro.jpeg"):
            response = client.get(f"/v1/slides/a~0{below}")
            assert response.status_code == 422, below
            assert "refused as an upload" in response.json()["detail"]
        assert client.post("/v1/jobs", json={"slide_id": "a~0", "mpp": 0.5}).status_code == 422


def test_the_workers_of_jobs_refuse_it_too(older: ServiceContext) -> None:
    """A job that was queued before, or by another service of the same database."""
    entry = older.catalogue.find("a~0")
    made = new_job(
        key="k", slide_key="k", slide_id="a~0", sha256="0" * 64, path=str(entry.path), kind="predict", target="",
        owner="o", mpp=0.5,
    )  # fmt: skip
    older.store.create(made, queue_max=9, owner_max=9)
    config = settings("cluster.kind=threads", "cluster.workers=1")
    supervisor = JobSupervisor(older.store, older.results, config)
    supervisor.start()
    try:
        until(lambda: older.store.find(made.job_id).state == FAILED, "it has failed")
    finally:
        supervisor.close()
    failed = older.store.find(made.job_id)
    assert (failed.error, failed.step) == ("UnreadableSlide", "read")
    assert "refused as an upload" in failed.message


def test_a_link_is_no_file_of_its_own(tmp_path: Path, small_slide: Path) -> None:
    link = tmp_path / "slide.svs"
    link.symlink_to(small_slide)
    with pytest.raises(UnreadableSlide, match="it is no regular file"):
        check_self_contained(link)
    link.unlink()
    shutil.copy(small_slide, link)
    check_self_contained(link)
