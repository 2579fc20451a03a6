from __future__ import annotations

import dataclasses
import struct
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
import zarr
from PIL import Image

from pipelines.synthesis_measures import step_at_borders
from tests.synthesis.diffusion.test_scene import assert_same, permuted
from wsigraph import read, synthesize
from wsigraph.config import Config
from wsigraph.errors import SynthesisError
from wsigraph.geometry import Box
from wsigraph.synthesis.diffusion.denoiser import supports_bfloat16
from wsigraph.synthesis.diffusion.edit import Move, Reclass, Remove, changed, edit, mask_unedited, parse_edit
from wsigraph.synthesis.diffusion.generator import Generator, load_generator
from wsigraph.synthesis.diffusion.mosaic import crop_scene, draw_canvas_grids, mosaic_generator
from wsigraph.synthesis.diffusion.scene import UNKNOWN, Scene, scene_from_labels
from wsigraph.synthesis.diffusion.scene_file import read_scene
from wsigraph.synthesis.diffusion.synthesize import scene_from_slide
from wsigraph.synthesis.diffusion.training_images import lay_out
from wsigraph.synthesis.diffusion.writer import write_samples, write_slide
from wsigraph.synthesis.simulation.layout import NECROSIS, TUMOUR

SLIDE = Path(__file__).parents[2] / "data" / "CMU-1-Small-Region.svs"


def files(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def png_chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    chunks, at = [], 8
    while at < len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    return chunks


def test_one_seed_gives_the_same_bytes_and_another_seed_others(
    scene: Scene, settings: Config, generator: Generator, tmp_path: Path
) -> None:
    for name, n, seed in (("one", 3, 5), ("two", 3, 5), ("fewer", 1, 5), ("other", 1, 6)):
        tiles = list(synthesize(scene, settings, seed=seed, n=n, generator=generator))
        write_samples(tiles, tmp_path / name)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    one, fewer, other = (files(tmp_path / name) for name in ("one", "fewer", "other"))
    assert fewer["00000.png"] == one["00000.png"] != one["00001.png"]
    assert fewer["00000.png"] != other["00000.png"]


def test_the_order_of_nodes_leaves_every_byte(scene: Scene, settings: Config, generator: Generator, tmp_path) -> None:
    from wsigraph.synthesis.diffusion.scene_file import scene_document

    for number, order in enumerate((np.arange(6), np.array([4, 2, 0, 5, 1, 3]))):
        path = tmp_path / f"{number}.json"
        path.write_bytes(scene_document(dataclasses.replace(permuted(scene, order), labels=None)))
        tiles = list(synthesize(read_scene(path, mpp=2.0), settings, seed=1, generator=generator))
        write_samples(tiles, tmp_path / str(number))
    assert files(tmp_path / "0") == files(tmp_path / "1")


def test_every_file_says_that_it_is_synthetic(
    scene: Scene, settings: Config, generator: Generator, tmp_path: Path
) -> None:
    (tile,) = synthesize(scene, settings, seed=5, generator=generator)
    write_samples([tile], tmp_path)
    for name in ("00000.png", "00000-mask.png"):
        text = dict(
            data.split(b"\0", 1) for kind, data in png_chunks((tmp_path / name).read_bytes()) if kind == b"tEXt"
        )
        assert text[b"synthetic"] == b"true"
        assert text[b"model_id"].decode() == generator.model_id
    assert zarr.open_group(tmp_path / "00000.zarr", mode="r").attrs["synthetic"] is True
    table = pq.read_table(tmp_path / "samples.parquet")
    assert table.schema.metadata[b"synthetic"] == b"true"
    assert table.column("synthetic").to_pylist() == [True]


def test_what_is_written_is_what_was_asked(
    scene: Scene, settings: Config, generator: Generator, tmp_path: Path
) -> None:
    (tile,) = synthesize(scene, settings, seed=5, generator=generator)
    write_samples([tile], tmp_path)
    assert_same(read_scene(tmp_path / "00000.zarr", mpp=2.0), scene)
    group = zarr.open_group(tmp_path / "00000.zarr", mode="r")
    np.testing.assert_array_equal(group["image"], tile.image)
    np.testing.assert_array_equal(group["mask"], tile.mask)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "00000.png")), tile.image)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "00000-mask.png")), tile.mask)
    assert scene.labels is not None
    np.testing.assert_array_equal(tile.mask, 1 + scene.classes[scene.labels - 1])


def test_settings_reach_the_picture(scene: Scene, settings: Config, generator: Generator) -> None:
    def paint(**changes) -> np.ndarray:
        chosen = settings.model_copy(update={"diffusion": settings.diffusion.model_copy(update=changes)})
        return next(synthesize(scene, chosen, seed=5, generator=generator)).image

    plain = paint()
    changed: list[dict] = [{"guidance": 0.0}, {"steps": 4}, {"sampler": "ddim"}]
    if supports_bfloat16("cpu"):
        changed.append({"half": False})
    for changes in changed:
        assert not np.array_equal(paint(**changes), plain), changes
    for options in ({"domain": "real"}, {"raster": True}, {"edits": ["class 0=necrosis"]}):
        image = next(synthesize(scene, settings, seed=5, generator=generator, **options)).image
        assert not np.array_equal(image, plain), options


def test_what_cannot_be_painted_is_refused(scene: Scene, settings: Config, generator: Generator) -> None:
    few = Generator(
        card=generator.card.model_copy(update={"config": generator.config.model_copy(update={"max_nodes": 5})}),
        weights=generator.weights,
    )
    for asked, model, message in (
        (scene, few, "the model takes at most 5"),
        (dataclasses.replace(scene, size_um=(60.0, 64.0)), generator, "at least the model's canvas of 64 um"),
        (dataclasses.replace(scene, classes=scene.classes + 5), generator, "is of class"),
        (dataclasses.replace(scene, position_um=scene.position_um + 40), generator, "outside the canvas"),
        (dataclasses.replace(scene, classes=scene.classes[:0]), generator, "without nodes"),
    ):
        with pytest.raises(SynthesisError, match=message):
            list(synthesize(asked, settings, seed=1, generator=model))


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("remove node 12", Remove(12)),
        ("remove 12", Remove(12)),
        ("class 7=necrosis", Reclass(7, NECROSIS)),
        ("class 7 = necrosis", Reclass(7, NECROSIS)),
        ("move 3 by 40,0 um", Move(3, 40.0, 0.0)),
        ("move 3 by -4.5, 10 um", Move(3, -4.5, 10.0)),
    ],
)
def test_edits_are_understood(text: str, asked: object) -> None:
    assert parse_edit(text) == asked


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("paint it red", "not understood"),
        ("class 7=bone", "expected one of stroma"),
        ("move 3 by 40", "not understood"),
    ],
)
def test_other_edits_are_refused(text: str, message: str) -> None:
    with pytest.raises(SynthesisError, match=message):
        parse_edit(text)


def test_a_removed_node_leaves_its_room_to_its_neighbours(scene: Scene) -> None:
    after = edit(scene, [Remove(0)], mpp=2.0)
    assert after.n_nodes == 5
    assert after.area_um2.sum() == scene.area_um2.sum()
    assert after.labels is not None
    assert (after.labels > 0).all()
    region = changed(scene, after)
    assert scene.labels is not None
    np.testing.assert_array_equal(region, scene.labels == 1)


def test_a_class_changes_and_forgets_how_it_looked(scene: Scene) -> None:
    known = dataclasses.replace(scene, density=np.full((6, 6), 0.3))
    after = edit(known, [Reclass(2, TUMOUR)], mpp=2.0)
    assert after.classes[2] == TUMOUR
    assert np.isnan(after.density[2]).all()
    assert np.isfinite(np.delete(after.density, 2, axis=0)).all()
    np.testing.assert_array_equal(changed(known, after), known.labels == 3)
    assert not changed(known, edit(known, [], mpp=2.0)).any()


def test_a_moved_node_lies_where_it_was_moved(scene: Scene) -> None:
    after = edit(scene, [Move(1, 6.0, 4.0)], mpp=2.0)
    assert after.labels is not None
    assert scene.labels is not None
    here = np.argmin(np.linalg.norm(after.position_um - scene.position_um[1] - (6, 4), axis=1))
    np.testing.assert_allclose(after.position_um[here], scene.position_um[1] + (6, 4))
    assert after.area_um2[here] == scene.area_um2[1]
    assert after.area_um2.sum() == scene.area_um2.sum()


def test_numbers_are_those_before_the_edits(scene: Scene) -> None:
    one = edit(scene, [Remove(0), Reclass(3, TUMOUR)], mpp=2.0)
    two = edit(scene, [Reclass(3, TUMOUR), Remove(0)], mpp=2.0)
    assert_same(one, two)


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ([Remove(6)], "no node 6 to edit, expected one of 0 to 5"),
        ([Remove(1), Remove(1)], "no node 1"),
        ([Move(0, -40.0, 0.0)], "outside the canvas"),
        ([Remove(node) for node in range(6)], "is the only one"),
    ],
)
def test_impossible_edits_are_refused(scene: Scene, edits: list, message: str) -> None:
    with pytest.raises(SynthesisError, match=message):
        edit(scene, edits, mpp=2.0)


def test_a_node_may_not_vanish_under_another() -> None:
    labels = np.ones((32, 32), np.int32)
    labels[4:14, 4:14] = 2
    labels[8:10, 24:26] = 3
    three = scene_from_labels(labels, np.array([0, 1, 2]), mpp=2.0)
    (large,) = np.flatnonzero(three.area_um2 == 400)
    with pytest.raises(SynthesisError, match="wholly; move it less far, or remove that"):
        edit(three, [Move(int(large), 32.0, 0.0)], mpp=2.0)


def test_an_edit_repaints_its_region_and_leaves_the_rest(settings: Config, generator: Generator) -> None:
    for side, number in ((32, 0), (80, 3)):
        scene = lay_out(settings.diffusion, side, seed=4)
        edits = [f"class {number}=necrosis"]
        plain = next(synthesize(scene, settings, seed=2, generator=generator)).image
        held = next(synthesize(scene, settings, seed=2, generator=generator, edits=edits))
        anew = settings.model_copy(update={"diffusion": settings.diffusion.model_copy(update={"repaint_um": None})})
        free = next(synthesize(scene, anew, seed=2, generator=generator, edits=edits))
        region = mask_unedited(scene, held.graph, margin_um=10.0, mpp=2.0)
        assert 0 < region.keep.mean() < 1
        np.testing.assert_array_equal(held.image[region.keep], plain[region.keep])
        assert (held.image[~region.keep] != plain[~region.keep]).any()
        assert (free.image[region.keep] != plain[region.keep]).any()
        assert_same(free.graph, held.graph)


@pytest.mark.parametrize("sampler", ["ddim", "dpmsolver"])
def test_an_edit_that_changes_nothing_gives_the_same_picture(
    scene: Scene, settings: Config, generator: Generator, sampler: str
) -> None:
    chosen = settings.model_copy(update={"diffusion": settings.diffusion.model_copy(update={"sampler": sampler})})
    plain = next(synthesize(scene, chosen, seed=2, generator=generator)).image
    same = next(synthesize(scene, chosen, seed=2, generator=generator, edits=["class 1=tumour"])).image
    np.testing.assert_array_equal(same, plain)


def test_the_room_around_an_edit_is_as_wide_as_asked(scene: Scene) -> None:
    after = edit(scene, [Reclass(0, NECROSIS)], mpp=2.0)
    assert scene.labels is not None
    own = scene.labels == 1
    np.testing.assert_array_equal(mask_unedited(scene, after, margin_um=0.0, mpp=2.0).keep, ~own)
    rows, columns = np.nonzero(~mask_unedited(scene, after, margin_um=10.0, mpp=2.0).keep)
    assert rows.max() == np.nonzero(own)[0].max() + 5
    assert columns.max() == np.nonzero(own)[1].max() + 5


def test_a_large_graph_becomes_a_slide_with_its_truth(settings: Config, generator: Generator, tmp_path: Path) -> None:
    scene = lay_out(settings.diffusion, 300, seed=4)
    tiles = []
    for threads in (1, 3):
        chosen = settings.model_copy(update={"runtime": settings.runtime.model_copy(update={"threads": threads})})
        tiles.append(next(synthesize(scene, chosen, seed=2, generator=generator)))
    for number, tile in enumerate(tiles):
        write_slide(tile, tmp_path / str(number))
    assert files(tmp_path / "0") == files(tmp_path / "1")
    with read(tmp_path / "0" / "slide.tiff") as slide:
        assert slide.info.mpp == 2.0
        assert len(slide.info.levels) > 1
        image = slide.read(Box.whole(slide.size()))
    # so little training paints noise, of which JPEG keeps little but the mean
    assert np.abs(image.mean(axis=(0, 1)) - tiles[0].image.mean(axis=(0, 1))).max() < 3
    with tifffile.TiffFile(tmp_path / "0" / "slide.tiff") as tiff:
        assert "synthetic" in tiff.pages[0].description
    assert_same(read_scene(tmp_path / "0" / "slide.zarr", mpp=2.0), scene)


def test_seams_do_not_show() -> None:
    shipped = load_generator()
    config, settings, seed = shipped.config, Config(), 2
    scene = lay_out(config, 160, seed=4)
    whole = next(synthesize(scene, settings, seed=seed, generator=shipped)).image
    tessellation = draw_canvas_grids(config, settings.diffusion, (160, 160), mosaic_generator(seed, 0))[-1]
    corners = [0, 64]
    beside = np.vstack(
        [
            np.hstack(
                [
                    next(synthesize(crop_scene(scene, y, x, config), settings, seed=y + x + 1, generator=shipped)).image
                    for x in corners
                ]
            )
            for y in corners
        ]
    )
    # over single lines of 160 px the ratio is within a tenth of 1 by chance
    assert step_at_borders(whole, *tessellation, side=64) < 1.12
    assert step_at_borders(beside, corners, corners, side=64) > 1.3


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
@pytest.mark.parametrize("size", [(64, 64), (65, 300), (256, 130)])
def test_canvases_cover_a_picture_and_move(settings: Config, overlap: float, size: tuple[int, int]) -> None:
    trained = settings.diffusion.model_copy(update={"canvas_px": 64})
    options = trained.model_copy(update={"steps": 6, "overlap": overlap})
    tessellations = draw_canvas_grids(trained, options, size, mosaic_generator(1, 0))
    assert len(tessellations) == 6
    stride = (1.0 - overlap) * 64
    for tessellation in tessellations:
        for starts, length in zip(tessellation, size, strict=True):
            assert (starts[0], starts[-1]) == (0, length - 64)
            assert (np.diff(starts) <= 64).all()
            assert len(starts) == 1 + np.ceil((length - 64) / stride)
    # three canvases in a row have an inner one, which moves where they overlap
    moved = len({str(tessellation) for tessellation in tessellations}) > 1
    assert moved == any(length > 128 and (overlap > 0 or length % 64 > 0) for length in size)


def test_a_canvas_of_a_larger_scene_keeps_classes_and_area(settings: Config) -> None:
    scene = lay_out(settings.diffusion, 96, seed=1)
    part = crop_scene(scene, 10, 20, settings.diffusion)
    assert scene.labels is not None
    assert part.labels is not None
    assert part.area_um2.sum() == pytest.approx(64 * 64)
    window = scene.labels[10:42, 20:52]
    assert set(part.classes) <= set(scene.classes[window[window > 0] - 1])
    glass = scene_from_labels(np.pad(np.ones((32, 32), np.int32), ((0, 64), (0, 64))), np.array([TUMOUR]), mpp=2.0)
    empty = crop_scene(glass, 64, 64, settings.diffusion)
    assert empty.classes.tolist() == [UNKNOWN]
    assert empty.density[0, 0] < 0.05


def test_the_graph_of_real_tissue(settings: Config) -> None:
    box = Box(y0=1200, x0=900, y1=1600, x1=1400)
    scene = scene_from_slide(SLIDE, settings, box=box)
    assert scene.size_um == (pytest.approx(200, abs=2), pytest.approx(250, abs=2))
    assert np.isfinite(scene.density).all()
    single = scene_from_slide(SLIDE, settings, box=box, single=True)
    assert single.size_um == (64.0, 64.0)
    with pytest.raises(SynthesisError, match=r"the slide at \(2220, 2967\)"):
        scene_from_slide(SLIDE, settings, box=Box(y0=0, x0=0, y1=10, x1=4000))
    with pytest.raises(SynthesisError, match="expected at least the canvas of 32 px"):
        scene_from_slide(SLIDE, settings, box=Box(y0=400, x0=400, y1=440, x1=440))
