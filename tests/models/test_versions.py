"""Which model version is in use, and which are kept."""

import json
import os
import shutil
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from support.inputs import SIGNATURES
from support.processes import another_process

from recmodel import schemas as c
from recmodel import storage
from recmodel.errors import ModelRejected, UsageRejected
from recmodel.models import presets, versions
from recmodel.records import Manifest, Metrics
from recmodel.tf import tf


@pytest.fixture
def models(tmp_path):
    """A folder of five versions; what is in them does not matter here."""
    saved_model = tmp_path / "saved_model"
    saved_model.mkdir()
    for number in range(5):
        (saved_model / "content").write_text(str(number))
        version = versions.write_version(
            tmp_path / "models", saved_model, catalogue=c.CATALOGUE.empty_table(), metrics=Metrics(),
            preset_name="joint", preset=presets.load("joint"), training={}, data_fingerprint="",
            signatures=SIGNATURES,
        )  # fmt: skip
        version.path.rename(version.path.with_name(f"v{number}"))
    return tmp_path / "models"


def test_promotions_can_be_taken_back_one_by_one(models):
    assert versions.current(models) is None
    for version in ("v0", "v3", "v1", "v1"):
        versions.promote(models, version)
    assert versions.current(models) == "v1"
    assert [versions.rollback(models), versions.rollback(models)] == ["v3", "v0"]
    with pytest.raises(ModelRejected, match="has no earlier version to go back to"):
        versions.rollback(models)
    with pytest.raises(ModelRejected, match="has no version 'v9'"):
        versions.promote(models, "v9")
    assert versions.current(models) == "v0"


def test_which_version_was_current_at_a_moment_is_known(models):
    """Promotions and rollbacks are noted. Of those before that was done, the time is that of the version's training."""
    old = ["20260101T030000Z-default-1", "20260105T030000Z-default-2"]
    for name, old_name in zip(("v0", "v1"), old, strict=True):
        (models / name).rename(models / old_name)
    (models / ".history").write_text("".join(f"{name}\n" for name in old))
    (models / "CURRENT").write_text(f"{old[-1]}\n")
    before = datetime.now(timezone.utc) - timedelta(seconds=1)
    (models / "v2").rename(models / "20260103T030000Z-default-3")  # trained between the two, promoted only now
    versions.promote(models, "20260103T030000Z-default-3")
    assert versions.rollback(models) == old[1]

    def at(*moment: int) -> str | None:
        return versions.current_at(models, datetime(*moment, tzinfo=timezone.utc))

    assert [at(2025, 12, 31), at(2026, 1, 1, 2), at(2026, 1, 1, 3), at(2026, 1, 4)] == [None, None, old[0], old[0]]
    assert versions.current_at(models, before) == old[1]
    noted = [line.partition("/") for line in (models / ".promotions").read_text().split()]
    assert [name for _, _, name in noted] == [*old, "20260103T030000Z-default-3", old[1]]
    shutil.rmtree(models / old[0])
    assert at(2026, 1, 4) == old[0]  # though it is gone


def test_a_damaged_version_is_not_gone_back_to(models):
    for version in ("v0", "v1"):
        versions.promote(models, version)
    (models / "v0/saved_model/content").write_text("changed")
    with pytest.raises(ModelRejected, match="content was changed"):
        versions.rollback(models)
    assert versions.current(models) == "v1"


def test_old_versions_go_but_never_current_the_one_before_or_one_being_read(models):
    for version in ("v1", "v0"):
        versions.promote(models, version)
    script = "import sys; from recmodel.models import versions; versions.open_version(sys.argv[1], 'v2')"
    with another_process(script, models):
        assert versions.prune(models, keep=1) == ["v3"]
    assert versions.prune(models, keep=1) == ["v2"]
    assert versions.list_versions(models) == ["v0", "v1", "v4"]


def test_what_killed_commands_left_goes_with_old_versions_unless_somebody_may_be_at_it(models):
    versions.promote(models, "v0")
    for name in (".removed-v9", ".writing-old", ".writing-new"):
        (models / name / "saved_model").mkdir(parents=True)
    half = f".CURRENT-{'0' * 32}"
    (models / half).touch()
    versions.note_failed_training(models, "why")
    for name in (".writing-old", half, ".training-failed"):
        os.utime(models / name, (0, 0))
    versions.prune(models, keep=9)
    hidden = {path.name for path in models.glob(".*")}
    assert hidden == {".history", ".promotions", ".training-failed", ".writing-new"}


def test_failed_training_is_remembered_until_a_version_is_written(models):
    for number in range(5):
        (models / f"v{number}").rename(models / f"2026010{number}T030000Z-joint-12345678")
    assert versions.failed_training(models) is None
    versions.note_failed_training(models, "train was killed")
    when, sentence = versions.failed_training(models)
    assert (sentence, abs((datetime.now(timezone.utc) - when).total_seconds()) < 60) == ("train was killed", True)
    later = f"{when + timedelta(hours=1):%Y%m%dT%H%M%SZ}-joint-12345678"
    (models / "20260101T030000Z-joint-12345678").rename(models / later)
    assert versions.failed_training(models) is None


def test_a_version_without_signatures_that_scoring_needs_is_refused_when_it_is_opened(exported, tmp_path):
    """By its SavedModel, where the manifest is of a version that did not write them down."""
    module = tf.Module()
    module.predict = tf.function(lambda user_id: {"x": user_id}, input_signature=[tf.TensorSpec([None], tf.int64)])
    tf.saved_model.save(module, str(tmp_path / "poor"), signatures={"predict": module.predict})
    for saved_model, missing in ((exported[7].folder, None), (tmp_path / "poor", "movie_vectors, rate_catalogue, ")):
        version = versions.write_version(
            tmp_path / "models", saved_model, catalogue=c.CATALOGUE.empty_table(), metrics=Metrics(),
            preset_name="joint", preset=presets.load("joint"), training={}, data_fingerprint="",
        )  # fmt: skip
        if missing is None:
            versions.open_version(tmp_path / "models", version.name)
        else:
            with pytest.raises(
                ModelRejected, match=f"{version.name} lacks {missing}.*, which scoring needs; train again"
            ):
                versions.open_version(tmp_path / "models", version.name)


@pytest.mark.parametrize(("libraries", "rank_by"), [({"numpy": "2.2.6"}, "retrieval"), ({"recmodel": "1"}, "blend")])
def test_models_of_before_keep_the_ranking_policy_of_then(libraries, rank_by):
    """Those before 0.3.2 do not say what ratings they predict at most, so `blend` would have to rate all movies."""
    manifest = Manifest(format_version=2, files={}, tasks=("retrieval", "rating"), libraries=libraries)
    assert versions.ModelVersion(Path("version"), manifest).rank_by == rank_by


def test_a_version_describes_itself_in_json_and_text(toy_models):
    """The notebook's TypeError: a vocabulary of bytes went to JSON. Here ids are int64 and titles are text."""
    version = versions.open_version(toy_models)
    manifest = json.loads((version.path / "manifest.json").read_text())
    assert manifest["format_version"] == 2
    assert manifest["preset"] == "joint"
    assert manifest["tasks"] == ["retrieval", "rating"]
    assert set(manifest["libraries"]) >= {"tensorflow", "tensorflow-recommenders"}
    assert set(manifest["files"]) >= {"catalogue.parquet", "metrics.json", "saved_model/saved_model.pb"}
    metrics = json.loads((version.path / "metrics.json").read_text())
    assert list(metrics["top_k_accuracy"]) == ["1", "5", "10", "50", "100"]
    assert metrics["rmse"] > 0
    assert version.catalogue().schema == c.CATALOGUE
    assert version.catalogue().column(c.TITLE)[0].as_py() == "Matrix, The (1999)"


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda path: (path / "catalogue.parquet").write_bytes(b"x"), "catalogue.parquet was changed"),
        (lambda path: (path / "metrics.json").unlink(), "metrics.json is missing"),
        (lambda path: (path / "saved_model/more.txt").write_text("x"), "more.txt is not in its manifest"),
        (lambda path: (path / "manifest.json").write_text("{"), "manifest.json cannot be read"),
        (lambda path: (path / "manifest.json").write_text('{"files": {}, "format_version": 99}'), "has format 99"),
    ],
)
def test_a_version_that_is_not_what_was_written_is_refused(tmp_path, toy_models, spoil, sentence):
    name = versions.current(toy_models)
    shutil.copytree(toy_models / name, tmp_path / name)
    versions.open_version(tmp_path, name)
    spoil(tmp_path / name)
    with pytest.raises(ModelRejected) as caught:
        versions.open_version(tmp_path, name)
    assert sentence in str(caught.value)


def test_versions_are_listed_chosen_and_current(toy_models, tmp_path):
    assert len(versions.list_versions(toy_models)) == 4
    assert versions.open_version(toy_models).manifest.preset == "joint"
    first = versions.list_versions(toy_models)[0]
    assert versions.open_version(toy_models, first).manifest.preset == "rating"
    assert versions.current(tmp_path) is None
    with pytest.raises(ModelRejected, match="has no model yet"):
        versions.open_version(tmp_path)
    with pytest.raises(ModelRejected, match="has no version '../x'"):
        versions.open_version(toy_models, "../x")


@pytest.fixture
def models_on_s3(s3, tmp_path, request):
    """A store of four versions on S3; what is in them does not matter here."""
    location = f"{s3}/{request.node.name}/models"
    (tmp_path / "saved_model/variables").mkdir(parents=True)
    for number in range(4):
        (tmp_path / "saved_model/variables/content").write_text(str(number))
        versions.write_version(
            location, tmp_path / "saved_model", catalogue=c.CATALOGUE.empty_table(), metrics=Metrics(rmse=number),
            preset_name=f"v{number}", preset=presets.load("joint"), training={}, data_fingerprint="",
            signatures=SIGNATURES,
        )  # fmt: skip
    return location


def test_a_model_store_on_s3_does_what_a_folder_does(models_on_s3):
    models = models_on_s3
    v = versions.list_versions(models)
    assert len(v) == 4
    with pytest.raises(ModelRejected, match="has no model yet"):
        versions.open_version(models)
    for name in (v[0], v[2], v[1]):
        versions.promote(models, name)
    version = versions.open_version(models)
    assert (version.name, version.metrics().rmse) == (v[1], 1)
    assert (version.saved_model / "variables/content").read_text() == "1"
    assert versions.rollback(models) == v[2]
    assert versions.prune(models, keep=1) == [v[1]]
    assert versions.list_versions(models) == [v[0], v[2], v[3]]
    assert versions.open_version(models).name == v[2]


def test_a_version_from_elsewhere_is_taken_over_whole_once_and_kept_while_it_is_in_use(models, models_on_s3, tmp_path):
    for place in (tmp_path / "others", models_on_s3):
        before = versions.list_versions(place)
        for name in ("v1", "v1", "v3"):
            with versions.scratch_next_to(place) as scratch:
                versions.take_over(place, shutil.copytree(models / name, scratch / name))
        versions.note_taken(place, "models:/recmodel@champion", "v1")
        assert versions.list_versions(place) == [*before, "v1", "v3"]
        assert versions.open_version(place, "v1").manifest == versions.open_version(models, "v1").manifest
        assert "v1" not in versions.prune(place, keep=1)
        (models / "v2/saved_model/content").write_text("changed")
        with versions.scratch_next_to(place) as scratch, pytest.raises(ModelRejected, match="content was changed"):
            versions.take_over(place, shutil.copytree(models / "v2", scratch / "v2"))
        assert versions.list_versions(place) == ["v1", "v3"]


def test_a_changed_or_half_written_version_on_s3_is_refused(models_on_s3):
    models = models_on_s3
    v = versions.list_versions(models)
    storage.write(f"{models}/{v[0]}/saved_model/variables/content", b"changed")
    with pytest.raises(ModelRejected, match=f"{models}/{v[0]}/saved_model/variables/content was changed"):
        versions.open_version(models, v[0])
    store = storage.file_system(models)
    store.delete_file(f"{v[1]}/manifest.json")  # as when the writer was killed before it wrote it
    assert v[1] not in versions.list_versions(models)
    with pytest.raises(ModelRejected, match="has no version"):
        versions.open_version(models, v[1])


def test_an_address_that_nothing_opens_is_named():
    with pytest.raises(UsageRejected, match="gopher://hole/x/CURRENT cannot be used: Unrecognized filesystem"):
        versions.current("gopher://hole/x")
