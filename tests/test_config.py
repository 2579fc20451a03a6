"""Settings: one tree, its files, its order of precedence, its refusals."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import yaml

from wsigraph import config
from wsigraph.config import Config, load, render, section_hash
from wsigraph.errors import ConfigError

CONFIGS = Path(__file__).parent.parent / "configs"


@pytest.mark.parametrize("section", Config.model_fields)
def test_committed_files_are_what_the_classes_render(section: str) -> None:
    assert (CONFIGS / f"{section}.yaml").read_text() == render(section), "run: wsigraph config write configs"


def test_committed_files_are_the_sections_and_no_others() -> None:
    assert {path.stem for path in CONFIGS.glob("*.yaml")} == set(Config.model_fields)


def test_committed_files_give_the_defaults() -> None:
    assert load([CONFIGS]) == Config()


@pytest.mark.parametrize("section", Config.model_fields)
def test_every_key_is_described_and_rendered(section: str) -> None:
    kind = type(getattr(Config(), section))
    assert all(info.description for info in kind.model_fields.values())
    assert kind.model_validate(yaml.safe_load(render(section))) == kind()


def test_later_wins(tmp_path: Path) -> None:
    (tmp_path / "superpixel.yaml").write_text("spacing_um: 40\ncompactness: 10\n")
    (tmp_path / "study.yaml").write_text("superpixel: {spacing_um: 50}\ntissue: {mask_ink: false}\n")
    loaded = load([tmp_path / "superpixel.yaml", tmp_path / "study.yaml"], ["superpixel.spacing_um=60"])
    assert (loaded.superpixel.spacing_um, loaded.superpixel.compactness) == (60.0, 10.0)
    assert not loaded.tissue.mask_ink
    assert load([tmp_path]).superpixel.spacing_um == 40.0


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("superpixel.spacin_um=3", "unknown key 'superpixel.spacin_um'; did you mean 'superpixel.spacing_um'"),
        ("superpixels.spacing_um=3", "unknown section 'superpixels'; did you mean 'superpixel'"),
        ("tissue.zzz=3", "expected one of mpp, "),
        ("superpixel.spacing_um=3", "'superpixel.spacing_um' is 3"),
        ("superpixel.spacing_um=.nan", "superpixel.spacing_um"),
        ("coarsening.max_area_um2=.inf", "coarsening.max_area_um2"),
        ("superpixel.iterations=many", "'superpixel.iterations' is 'many'"),
        ("superpixel=3", "expected section.key=value"),
        ("superpixel.spacing_um", "expected section.key=value"),
        ("cluster.kind=mars", "is 'mars': expected local (processes), threads"),
        ("superpixel.spacing_um=[", "does not read as YAML"),
    ],
)
def test_refusals_name_what_was_met_and_what_is_there(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as met:
        load(overrides=[override])
    assert message in str(met.value)
    assert "\n" not in str(met.value)


def test_old_keys_are_read(tmp_path: Path) -> None:
    (tmp_path / "explanation.yaml").write_text("baseline: kind\nmax_gap: 0.02\nkinds: 9\nbroad_kinds: 3\n")
    loaded = load([tmp_path / "explanation.yaml"], ["explanation.baseline=site"]).explanation
    assert (loaded.reference, loaded.clusters, loaded.broad_clusters) == ("site", 9, 3)
    assert loaded.max_completeness_error == 0.02
    assert load([tmp_path / "explanation.yaml"]).explanation.reference == "cluster"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("superpixel.yaml", "- 1\n", "holds list"),
        ("superpixel.yaml", "spacing_um: [\n", "does not read"),
        ("study.yaml", "superpixel: 3\n", "section 'superpixel' holds 3"),
        ("study.yaml", "spacing_um: 3\n", "unknown section 'spacing_um'"),
        ("study.yaml", "superpixel: {a: !!python/object/apply:os.getcwd []}\n", "does not read"),
    ],
)
def test_a_faulty_file_is_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError) as met:
        load([tmp_path / name])
    assert message in str(met.value)
    assert str(tmp_path / name) in str(met.value)


def test_absent_and_empty_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not read"):
        load([tmp_path / "absent.yaml"])
    with pytest.raises(ConfigError, match="holds no section file"):
        load([tmp_path])
    (tmp_path / "superpixel.yaml").write_text("")
    assert load([tmp_path / "superpixel.yaml"]) == Config()


def test_values_are_frozen_and_travel_to_workers() -> None:
    settings = load(overrides=["superpixel.spacing_um=41"])
    with pytest.raises(ValueError, match="frozen"):
        settings.superpixel.spacing_um = 3.0
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_a_hash_follows_values_alone() -> None:
    plain = section_hash(Config().superpixel)
    assert plain == section_hash(load(overrides=["superpixel.spacing_um=30"]).superpixel)
    assert plain != section_hash(load(overrides=["superpixel.spacing_um=31"]).superpixel)


def test_rendered_values_are_those_given() -> None:
    shown = render("superpixel", load(overrides=["superpixel.spacing_um=40"]).superpixel)
    assert yaml.safe_load(shown)["spacing_um"] == 40.0


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="choose another directory"):
        config.write(tmp_path / "file")


def test_a_renamed_key_is_read_by_its_old_name_and_hashed_as_before() -> None:
    from wsigraph.config.tissue import TissueConfig

    old = load([], ["tissue.blur_max_share=0.4", "batch.share_min_mpx=8"])
    assert (old.tissue.blur_max_fraction, old.batch.split_min_mpx) == (0.4, 8.0)
    assert TissueConfig.model_validate({"blur_max_share": 0.4}) == old.tissue
    # a renamed key does not change the hash of the defaults
    assert section_hash(TissueConfig()) == "df5772b742e354a910af3d2ac14ae87b8c832c8ce338c387a60a3ca1ea6dd2b3"
