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

    def run(**changes):
        seen = []
        found = search.run(
            chosen, replace(request, **changes), tmp_path / "found", Stages(), lambda *trial: seen.append(trial)
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
