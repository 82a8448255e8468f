"""Settings: which source wins, and what is said of a bad value."""

import pytest
from support.processes import ROOT

from recmodel import settings
from recmodel.errors import UsageRejected
from recmodel.models import presets


def test_a_flag_beats_the_environment_beats_the_file(monkeypatch):
    from_file = settings.load().scoring.top_n
    monkeypatch.setenv("RECMODEL_SCORING__TOP_N", "77")
    assert from_file != 77
    assert settings.load().scoring.top_n == 77
    assert settings.load(scoring={"top_n": 5, "rank_by": None}).scoring.top_n == 5
    assert settings.load(scoring={"top_n": 5}).scoring.rank_by == settings.load().scoring.rank_by


def test_columns_can_be_named_in_the_environment(monkeypatch):
    monkeypatch.setenv("RECMODEL_INPUT__COLUMNS__USER_ID", "customer")
    assert settings.load().input.columns.user_id == "customer"
    assert settings.load().input.columns.movie_id == ""
    monkeypatch.setenv("RECMODEL_INPUT__COLUMNS__USERID", "customer")
    with pytest.raises(UsageRejected, match="did you mean RECMODEL_INPUT__COLUMNS__USER_ID"):
        settings.load()


def test_relative_paths_start_at_the_project_whatever_the_working_directory(monkeypatch, tmp_path):
    expected = settings.load().paths
    monkeypatch.chdir(tmp_path)
    assert settings.load().paths == expected
    assert settings.load(paths={"data": settings.SAMPLE}).paths.data == settings.SAMPLE
    assert settings.load(rules={"deny_pairs": "denied.csv"}).rules.deny_pairs == str(ROOT / "denied.csv")


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (
            {"scoring": {"top_n": 0}},
            "scoring.top_n: Input should be greater than or equal to 1 (got 0); correct --top-n",
        ),
        ({"training": {"test_share": 1.0}}, "training.test_share"),
        (
            {"training": {"gate": {"accuracy": 0.01}}},
            "accuracy is no setting any more; there is training.gate.max_ndcg_loss",
        ),
        ({"scoring": {"rank_by": "best"}}, "scoring.rank_by"),
        ({"scoring": {"top": 3}}, "scoring.top: there is no such field (got 3)"),
    ],
)
def test_a_bad_value_is_named(flags, sentence):
    with pytest.raises(UsageRejected) as caught:
        settings.load(**flags)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("RULES__ALLOW__GENRES", "[Comedy]", "RECMODEL_RULES__ALLOW__GENRES is not JSON: '.Comedy.'; write it like"),
        ("scoring", "top_n", 'variable recmodel_scoring is not JSON; write it like {"name"'),
        ("SCORING__TOP_N", "x", "unable to parse .* correct the environment variable RECMODEL_SCORING__TOP_N"),
        ("RULES__ALLOW", '{"years": ["x"]}', "correct the environment variable RECMODEL_RULES__ALLOW"),
    ],
)
def test_a_bad_environment_variable_is_named(monkeypatch, name, value, sentence):
    prefix = "RECMODEL_" if name.isupper() else "recmodel_"
    monkeypatch.setenv(prefix + name, value)
    with pytest.raises(UsageRejected, match=sentence):
        settings.load()


@pytest.mark.parametrize(
    "content", [b"scoring: {top_n: [1}", b"just text", b"- a", b"\xff\xfe", b"scoring: {top_n: 0}"]
)
def test_a_bad_settings_file_is_named(monkeypatch, tmp_path, content):
    (tmp_path / "settings.yaml").write_bytes(content)
    monkeypatch.setenv("RECMODEL_CONF", str(tmp_path))
    with pytest.raises(UsageRejected, match=f"{tmp_path}/settings.yaml"):
        settings.load()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("RECMODEL_SCORING__TOPN", "did you mean RECMODEL_SCORING__TOP_N?"),
        ("recmodel_training__sead", "did you mean RECMODEL_TRAINING__SEED?"),
        ("RECMODEL_XYZ", "unset it"),
        ("RECMODEL_TRAINING__GATE__RMSE", "there is training.gate.max_rmse_loss, a share of the rating scale's width"),
    ],
)
def test_a_variable_that_sets_nothing_is_refused_with_the_near_name(monkeypatch, name, hint):
    monkeypatch.setenv(name, "5")
    with pytest.raises(UsageRejected) as caught:
        settings.load()
    assert str(caught.value) == f"the environment variable {name} sets nothing; {hint}"


def test_a_settings_file_of_ones_own_holds_only_what_differs(monkeypatch, tmp_path):
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/settings.yaml").write_text("scoring: {top_n: 3}\n")
    before = settings.load()
    monkeypatch.setenv("RECMODEL_CONF", str(tmp_path / "conf"))
    assert settings.load().scoring == before.scoring.model_copy(update={"top_n": 3})
    assert settings.load().paths.models == str(tmp_path / "var/models")
    assert (
        settings.origins()["scoring.top_n"] == f"{tmp_path}/conf/settings.yaml; the default is {before.scoring.top_n}"
    )


@pytest.mark.parametrize("years", [99, "1999-2000", "soon..", "1990..19999", 1999.5, "1999..1990"])
def test_years_are_years_or_ranges_of_them(years):
    good = [1999, "..1959", "1990..1999", "2010.."]
    assert settings.load(rules={"deny": {"years": good}}).rules.deny.years == good
    with pytest.raises(UsageRejected, match=r"rules\.deny\.years\.4"):
        settings.load(rules={"deny": {"years": [*good, years]}})


@pytest.mark.parametrize("content", ["default: [x", "default", "default: x"])
def test_a_bad_file_of_presets_is_named(monkeypatch, tmp_path, content):
    (tmp_path / "settings.yaml").write_text("{}")
    (tmp_path / "presets.yaml").write_text(content)
    monkeypatch.setenv("RECMODEL_CONF", str(tmp_path))
    with pytest.raises(UsageRejected, match=f"{tmp_path}/presets.yaml .*; correct it"):
        presets.load("default")


def test_presets_of_ones_own_add_to_the_package_s_and_extend_them(monkeypatch, tmp_path):
    """Those of a file count before those of RECMODEL_CONF, and these before the package's."""
    conf, file = tmp_path / "conf", tmp_path / "more.yaml"
    conf.mkdir()
    (conf / "settings.yaml").write_text("training: {preset: ours}")
    (conf / "presets.yaml").write_text(
        "ours: {extends: joint, description: ours, epochs: 9}\ndefault: {extends: default, epochs: 1}\n"
    )
    file.write_text("theirs: {extends: ours, batch_size: 7}\nours: {extends: ours, learning_rate: 0.5}\n")
    monkeypatch.setenv("RECMODEL_CONF", str(conf))
    assert presets.names()[:2] == ["default", "any-order"]
    assert presets.names(str(file))[-2:] == ["ours", "theirs"]
    ours, theirs = presets.load("ours"), presets.load("theirs", str(file), epochs=3)
    assert (ours.epochs, ours.learning_rate, ours.rating_layers) == (9, 0.1, (256, 128))
    assert (theirs.epochs, theirs.learning_rate, theirs.batch_size) == (3, 0.5, 7)
    assert presets.load("default").epochs == 1
    file.write_text("a: {extends: b}\nb: {extends: a}\nc: {extends: nobody}\n")
    with pytest.raises(UsageRejected, match=f"{file}: presets extend each other .a → b → a"):
        presets.load("a", str(file))
    with pytest.raises(UsageRejected, match="no preset is called 'nobody', which c extends; there are default"):
        presets.load("c", str(file))


def test_the_notebooks_presets_are_its_own():
    for name in ("joint", "rating", "retrieval", "ranking"):
        preset = presets.load(name)
        assert (preset.embedding_dim, preset.learning_rate, preset.batch_size, preset.epochs) == (32, 0.1, 8192, 3)
        assert preset.rating_layers == ((256, 64) if name == "ranking" else (256, 128))
    weights = {n: (p.rating_weight, p.retrieval_weight) for n in ("joint", "rating", "retrieval", "ranking")
               for p in [presets.load(n)]}  # fmt: skip
    assert weights == {"joint": (1, 1), "rating": (1, 0), "retrieval": (0, 1), "ranking": (1, 0)}


def test_a_preset_of_an_unknown_architecture_is_told_the_known_ones():
    with pytest.raises(UsageRejected, match="preset joint, architecture: 'tree' does not exist; .* embedding, history"):
        presets.load("joint", architecture="tree")


def test_an_unknown_preset_is_told_the_known_ones():
    with pytest.raises(UsageRejected, match="no preset is called 'best'; there are default, any-order, joint, rating"):
        presets.load("best")
    with pytest.raises(UsageRejected, match=r"preset joint, epochs: .* \(got 0\)"):
        presets.load("joint", epochs=0)


@pytest.mark.parametrize("uri", ["s3://id:open-sesame@bucket/x", "s3://bucket/x?secret_key=open-sesame"])
def test_credentials_in_an_address_are_refused_and_not_repeated(uri):
    with pytest.raises(UsageRejected, match="holds credentials; give them in the environment") as refused:
        settings.load(paths={"models": uri})
    assert "sesame" not in str(refused.value)
