"""Which model version is in use, and which are kept."""

import json
import shutil

import pytest
from support.processes import another_process

from recmodel import schemas as c
from recmodel import storage
from recmodel.errors import ModelRejected, UsageRejected
from recmodel.models import presets, versions
from recmodel.records import Metrics


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
