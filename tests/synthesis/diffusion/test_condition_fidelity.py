from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipelines.score_synthesis import paint_row
from pipelines.score_usefulness import collapsed, read_rows, report, summary
from pipelines.synthesis_measures import score_edit, step_at_borders
from pipelines.synthesis_tables import tables
from wsigraph.config import Config
from wsigraph.synthesis.diffusion.edit import edit, mask_unedited, parse_edit
from wsigraph.synthesis.diffusion.generator import Generator
from wsigraph.synthesis.diffusion.painter import Painter
from wsigraph.synthesis.diffusion.scene import Scene
from wsigraph.synthesis.diffusion.synthesize import synthesize


def test_an_edit_counts_that_changes_its_region_alone() -> None:
    rng = np.random.default_rng(0)
    plain = [np.full((16, 16, 3), 100, np.uint8) for _ in range(4)]
    keep = [np.arange(16)[:, None] * np.ones(16) > 7 for _ in range(4)]
    # a redraw changes every place by about one grey level
    again = [each + rng.integers(0, 3, each.shape, np.uint8) for each in plain]
    inside, everywhere, nothing = (
        [np.where(mask[..., None], each, each + np.uint8(20)) for mask, each in zip(keep, plain, strict=True)],
        [each + np.uint8(20) for each in plain],
        plain,
    )
    fractions = [score_edit(keep, plain, other, again) for other in (inside, everywhere, nothing)]
    assert [each["both"] for each in fractions] == [1.0, 0.0, 0.0]
    assert [each["inside_changes"] for each in fractions] == [1.0, 1.0, 0.0]
    assert [each["outside_stays"] for each in fractions] == [1.0, 0.0, 1.0]
    assert fractions[0]["n"] == 4


def test_a_border_of_canvases_shows_in_the_steps_between_pixels() -> None:
    image = np.random.default_rng(0).integers(90, 110, (64, 64, 3), np.uint8)
    corners = [0, 16, 32, 48], [0, 16, 32, 48]
    assert step_at_borders(image, *corners, side=16) == pytest.approx(1.0, abs=0.05)
    image[:, 16:32] += 40
    assert step_at_borders(image, *corners, side=16) > 1.2
    # elsewhere than the borders it is no seam
    assert step_at_borders(image, [0, 24], [0, 24], side=24) < 1.0


def test_an_edit_leaves_the_unedited_pixels(scene: Scene, generator: Generator) -> None:
    painter = Painter(network=generator.network, steps=4, guidance=50.0, batch=2, sampler="dpmsolver")
    after = edit(scene, [parse_edit("class 2=necrosis")], mpp=2.0)
    mask = mask_unedited(scene, after, margin_um=4.0, mpp=2.0)
    (plain,) = paint_row(painter, [scene], "painted", "graph", seed=3)
    (edited,) = paint_row(painter, [after], "painted", "graph", seed=3, edit_masks=[mask])
    assert np.array_equal(plain[mask.keep], edited[mask.keep])
    assert (plain != edited).any()


@pytest.mark.parametrize("row", ["unconditional", "map", "graph", "graph + map"])
def test_recipes_paint_as_the_command_does(scene: Scene, settings: Config, generator: Generator, row: str) -> None:
    options = settings.diffusion.model_copy(update={"guidance": 2.0 if row != "unconditional" else 0.0, "half": False})
    painter = Painter(network=generator.network, steps=options.steps, guidance=2.0, sampler=options.sampler)
    images = paint_row(painter, [scene, scene], "painted", row, seed=3)
    if row in ("graph", "graph + map", "unconditional"):
        chosen = settings.model_copy(update={"diffusion": options})
        tiles = synthesize(scene, chosen, seed=3, n=2, generator=generator, raster="map" in row)
        for image, tile in zip(images, tiles, strict=True):
            assert np.abs(image.astype(int) - tile.image).max() <= 1
    assert not np.array_equal(images[0], images[1])


def test_tables_say_what_was_measured() -> None:
    copying = {"close_fraction": 0.01, "median_ratio": 1.0, "caught": False}
    near = {"close_fraction": 0.016, "median_ratio": 0.93, "caught": True}
    space = {"kernel_distance_features": {"value": 0.5, "error": 0.1}, "copying_features": copying}
    text = tables(
        {
            "edit": {"move": {"n": 7, "inside_changes": 0.9, "outside_stays": 0.8, "both": 0.7}},
            "real": {"rows": {"real": space | {"copying_pixels": copying}, "graph": space | {"copying_pixels": near}}},
            "slide": {"side_px": 64, "seconds": 2.0, "threads": 2, "as_one": 1.0, "side_by_side": 1.5},
        }
    )
    assert "| move | 7 | 0.90 | 0.80 | 0.70 |" in text
    assert "| real | 0.5000 +- 0.1000 |" in text
    assert "| real | 0.010, 1.00 | 0.010, 1.00 | none |" in text
    assert "| graph | 0.010, 1.00 | 0.016, 0.93 | pixels |" in text
    assert "1.000 in the slide, 1.500 in canvases side by side" in text


def test_usefulness_is_paired_by_patient() -> None:
    rows = [
        {"arm": arm, "patient": patient, "dice": dice + gain}
        for patient, dice in (("a", 0.2), ("b", 0.8))
        for arm, gain in (("real", 0.0), ("synthetic", -0.1), ("both", 0.05))
    ]
    assert "| synthetic | 0.400 | 0.80 | -0.100 (-0.100 to -0.100) |" in summary(rows)
    assert "| both | 0.550 | 1.10 | +0.050 (+0.050 to +0.050) |" in summary(rows)


def test_a_collapsed_segmenter_is_named_and_left_out() -> None:
    dice = {("real", 0): 0.8, ("real", 1): 0.1, ("synthetic", 0): 0.7, ("synthetic", 1): 0.7}
    rows: list[dict[str, object]] = [
        {"fold": 4, "seed": seed, "arm": arm, "patient": "a", "dice": dice.get((arm, seed), 0.6)}
        for seed in (0, 1)
        for arm in ("real", "synthetic", "both")
    ]
    assert collapsed(rows) == [((4, 1, "real"), 0.1, 0.8)]
    # with it synthetic tissue gains 0.25, without it loses 0.1
    with_it, without = report(rows).split("Collapsed: fold 4, seed 1, real: Dice 0.100; other seeds 0.800.")
    assert "| synthetic | 0.700 | 1.56 | +0.250" in with_it
    assert "| synthetic | 0.700 | 0.87 | -0.100" in without
    assert report([row for row in rows if row["seed"] == 0]) == summary([row for row in rows if row["seed"] == 0])


def test_the_page_names_the_segmenter_that_collapsed_on_few_patients() -> None:
    root = Path(__file__).parents[3]
    rows = json.loads((root / "docs/results/usefulness_few.json").read_text())["rows"]
    ((key, own, _),) = collapsed(rows)
    assert key == (1, 1, "real")
    page = " ".join((root / "docs/synthesis.md").read_text(encoding="utf-8").split())
    assert f"fold {key[0]}, seed {key[1]}, trained on real images alone, has a mean Dice of {own:.3f}" in page
    without = report(rows).split("in every arm:")[1]
    for arm in ("synthetic", "both"):
        dice, _, gain = next(line for line in without.splitlines() if line.startswith(f"| {arm} |")).split(" | ")[1:]
        assert dice in page
        assert gain.removesuffix(") |").replace(" (", "; ") in page
    assert collapsed(json.loads((root / "docs/results/usefulness.json").read_text())["rows"]) == []


def test_usefulness_goes_on_only_from_its_own_settings(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    assert read_rows(path, {"steps": 1}) == []
    path.write_text(json.dumps({"settings": {"steps": 1}, "rows": [{"fold": 0}]}))
    assert read_rows(path, {"steps": 1}) == [{"fold": 0}]
    with pytest.raises(SystemExit, match="was made with"):
        read_rows(path, {"steps": 2})
