"""Search for a preset's fields."""

from dataclasses import replace

import numpy as np
import pytest
from support.inputs import make_ratings, write_movielens

from recmodel import schemas as c
from recmodel import settings
from recmodel.errors import UsageRejected
from recmodel.pipeline import evaluate, search
from recmodel.progress import Stages

_MOVIES = "movieId,title,genres\n" + "".join(f"{movie},M{movie} (1999),Drama\n" for movie in range(12))


@pytest.fixture
def searching(tmp_path):
    """Run a search of so many trials, of ratings made here; return what each trial was told to be, and the result."""
    data = write_movielens(tmp_path / "data", make_ratings(12, tuple(range(12)), each=(5, 9)), _MOVIES)
    space = tmp_path / "space.yaml"
    space.write_text("epochs: [0, 1]\nliking: [0.1, 0.9]\n")
    chosen = settings.load(paths={"data": str(data), "models": str(tmp_path / "models")})
    request = search.Request("default", space, 2, "last-out", "rmse")

    def run(data=data, folder="found", **changes):
        seen, of_data = [], chosen.model_copy(update={"paths": chosen.paths.model_copy(update={"data": str(data)})})
        found = search.run(
            of_data, replace(request, **changes), tmp_path / folder, Stages(), lambda *trial: seen.append(trial)
        )
        return seen, found

    run.settings, run.request = chosen, request
    return run


def test_a_search_starts_with_the_preset_and_goes_on_where_it_ended(searching):
    first, found = searching()
    assert [number for number, _ in first] == [0, 1]
    assert first[0][1].is_preset
    assert not first[1][1].is_preset
    more, found = searching(trials=1)
    assert [number for number, _ in more] == [2]
    assert len(found) == 3
    assert [trial.measure for trial in found] == sorted(trial.measure for _, trial in first + more)


def test_several_data_count_alike(searching, tmp_path):
    """By the geometric mean, of whatever scale their measures are."""
    other = write_movielens(tmp_path / "other", make_ratings(9, tuple(range(12)), each=(3, 7)), _MOVIES)
    (_, of_one), *_ = searching(trials=1)[0]
    (_, of_other), *_ = searching(trials=1, data=other, folder="other")[0]
    (_, of_both), *_ = searching(trials=1, also_data=(str(other),))[0]
    assert [trial.is_preset for trial in (of_one, of_other, of_both)] == [True] * 3
    assert of_both.measure == pytest.approx(np.sqrt(of_one.measure * of_other.measure), rel=1e-4)
    assert of_one.measure != pytest.approx(of_other.measure, rel=1e-3)


def test_what_is_held_out_for_testing_is_not_looked_at(searching):
    """Validation ratings are each user's second newest; the newest is in no part."""
    found = evaluate.read(searching.settings)
    split = search._Measure(searching.settings, searching.request, found)._split
    ratings, times = found.ratings, found.ratings[c.TIMESTAMP]
    for user in np.unique(ratings[c.USER_ID]):
        newest_first = np.sort(times[ratings[c.USER_ID] == user])[::-1]
        assert split.held_out[c.TIMESTAMP][split.held_out[c.USER_ID] == user].tolist() == [newest_first[1]]
        assert split.fitted[c.TIMESTAMP][split.fitted[c.USER_ID] == user].max() <= newest_first[2]


def test_a_space_that_is_none_is_refused(searching, tmp_path):
    (tmp_path / "wrong.yaml").write_text("liking: 0.2\n")
    with pytest.raises(UsageRejected, match="takes a line per field"):
        searching(space=tmp_path / "wrong.yaml")
    (tmp_path / "unknown.yaml").write_text("colour: [1, 2]\n")
    with pytest.raises(UsageRejected, match="colour"):
        searching(space=tmp_path / "unknown.yaml")
