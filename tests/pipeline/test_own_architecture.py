"""An architecture of one's own, outside the package: trained by name, and scored where nobody has its module."""

import sys

import numpy as np
import pytest
from support.processes import ROOT, here
from support.runs import published

import recmodel
from recmodel import schemas as c

EXAMPLE = ROOT / "tests/models/example_architecture"
PRESETS = EXAMPLE / "presets.yaml"


@pytest.fixture(scope="module")
def models(toy, tmp_path_factory):
    """A folder of models with a version of the example, whose module nobody can import any more."""
    folder = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLE)
        done = here("train", "--data", toy, "--models", folder, "--presets", PRESETS, "--preset", "titles")
    for name in [name for name in sys.modules if name.split(".")[0] == "my_movies"]:
        del sys.modules[name]
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_a_night_needs_the_saved_model_alone(models, toy, score_here, tmp_path):
    score_here("--data", toy, "--models", models, "--output", tmp_path, "--run-date", "2026-01-31", "--top-n", 6)
    rows = published(tmp_path, "2026-01-31")
    assert set(rows.column(c.SOURCE).to_pylist()) == {"model"}
    assert 11 in rows.column(c.MOVIE_ID).to_pylist()  # nobody has rated it, and it has a title
    model = recmodel.load(models)
    answer = model.predict(rows.column(c.USER_ID).to_numpy(), rows.column(c.MOVIE_ID).to_numpy())
    np.testing.assert_allclose(rows.column(c.PREDICTED_RATING).to_numpy(), answer.predicted_rating, rtol=1e-5)
    assert (model.version.architecture, model.version.metrics().measured_users) == (
        "my_movies.titles:TitleArchitecture", 40,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (
            None,
            "no_such_movies:Mine cannot be imported (No module named 'no_such_movies'); install its package",
        ),
        ("x = 1", "no_such_movies:Mine cannot be imported (module 'no_such_movies' has no attribute 'Mine')"),
        ("class Mine: Preset = int", "no_such_movies:Mine lacks prepare, Towers; see Architecture in recmodel.models"),
        ("class Mine: Preset = prepare = Towers = int", "no_such_movies:Mine.Preset is not derived from recmodel.mode"),
    ],
)
def test_a_class_that_is_no_architecture_is_refused_before_any_work(toy, tmp_path, monkeypatch, source, sentence):
    (tmp_path / "mine.yaml").write_text('mine: {extends: joint, architecture: "no_such_movies:Mine"}')
    if source:
        (tmp_path / "no_such_movies.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "no_such_movies", raising=False)
    done = here("train", "--data", toy, "--models", tmp_path, "--presets", tmp_path / "mine.yaml", "--preset", "mine")
    assert done.returncode == 2
    assert sentence in done.stderr


def test_what_fails_in_it_is_a_sentence_with_the_cause(toy, tmp_path, monkeypatch):
    """Not the first line of Keras' message, which is "in user code:"."""
    (tmp_path / "gone_wrong.py").write_text(
        "from my_movies import titles\n"
        "class GoneWrong(titles.TitleArchitecture):\n"
        "    @staticmethod\n"
        "    def prepare(*given, **more):\n"
        "        raise TypeError('in user code:\\n\\n    the cause\\n')\n"
    )
    (tmp_path / "mine.yaml").write_text(
        f'{PRESETS.read_text()}\nmine: {{extends: titles, architecture: "gone_wrong:GoneWrong"}}\n'
    )
    monkeypatch.syspath_prepend(EXAMPLE)
    monkeypatch.syspath_prepend(tmp_path)
    done = here("train", "--data", toy, "--models", tmp_path, "--presets", tmp_path / "mine.yaml", "--preset", "mine")
    assert done.returncode == 4
    assert "Error: gone_wrong:GoneWrong failed in training: TypeError: the cause (the trace is in" in done.stderr


def test_towers_that_lack_what_scoring_needs_are_refused(toy, tmp_path, monkeypatch):
    (tmp_path / "half_done.py").write_text(
        "from my_movies.titles import TitleArchitecture\n"
        "class Towers: movies = needs_history = rating_width = rating_range = users = place = None\n"
        "class HalfDone(TitleArchitecture):\n"
        "    Towers = staticmethod(lambda weights: Towers)\n"
    )
    presets = f'{PRESETS.read_text()}\nmine: {{extends: titles, architecture: "half_done:HalfDone"}}\n'
    (tmp_path / "mine.yaml").write_text(presets)
    monkeypatch.syspath_prepend(EXAMPLE)
    monkeypatch.syspath_prepend(tmp_path)
    models = tmp_path / "models"
    done = here("train", "--data", toy, "--models", models, "--presets", tmp_path / "mine.yaml", "--preset", "mine")
    assert done.returncode == 4
    assert "half_done:HalfDone: its towers lack linear_rating, movie_vectors, rate_catalogue," in done.stderr
    assert not [*models.glob("2*")]
