"""Business rules: what is left of a catalogue."""

import re

import numpy as np
import pytest
from support.inputs import make_catalogue

from recmodel import schemas as c
from recmodel.data.catalogue import combine
from recmodel.errors import UsageRejected
from recmodel.pipeline import business_rules
from recmodel.settings import Rules

NONE = {"genres": [], "years": [], "movies": []}


def make_rules(allow=None, deny=None, **more) -> Rules:
    given = {"min_ratings": 0, "max_per_genre": 0, "max_new": 0.2, "deny_pairs": "", "opt_out": ""}
    return Rules(allow=NONE | (allow or {}), deny=NONE | (deny or {}), **(given | more))


CATALOGUE = make_catalogue([
    (2, "Heat (1995)", "Action|Crime"), (3, "Emma (1996)", "Drama|Romance"), (5, "Alien (1979)", "Horror|Sci-Fi"),
    (8, "Undated", "Drama"), (13, "2001 (A Space Odyssey) (1968) ", "Sci-Fi"), (21, "Odd (2000)", "(no genres listed)"),
    (34, "Odder (2001)", None),
])  # fmt: skip
COUNTS = np.array([9, 5, 4, 7, 0, 1, 2])


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ({}, [2, 3, 5, 8, 13, 21, 34]),
        ({"allow": {"genres": ["Drama", "Crime"]}}, [2, 3, 8]),
        ({"deny": {"genres": ["Drama"]}}, [2, 5, 13, 21, 34]),
        ({"deny": {"genres": ["(no genres listed)"]}}, [2, 3, 5, 8, 13, 34]),
        ({"allow": {"years": [1995, "1979..1980"]}}, [2, 5]),
        ({"allow": {"years": ["..1979"]}}, [5, 13]),
        ({"allow": {"years": ["1996.."]}}, [3, 21, 34]),
        ({"allow": {"years": [".."]}}, [2, 3, 5, 13, 21, 34]),
        ({"deny": {"years": ["1995..1996"]}}, [5, 8, 13, 21, 34]),
        ({"allow": {"movies": [3, 13, 4711]}}, [3, 13]),
        ({"deny": {"movies": [3, 4711]}}, [2, 5, 8, 13, 21, 34]),
        ({"allow": {"genres": ["Sci-Fi"], "years": ["..1970"]}}, [13]),
        ({"allow": {"genres": ["Sci-Fi"]}, "deny": {"movies": [5]}}, [13]),
        ({"min_ratings": 5}, [2, 3, 8]),
        ({"min_ratings": 5, "deny": {"genres": ["Crime"]}, "allow": {"years": [1995, 1996]}}, [3]),
    ],
)
def test_what_is_left_of_a_catalogue(given, left):
    chosen = business_rules.allowed(combine(CATALOGUE, CATALOGUE, place_new=False), COUNTS, make_rules(**given))
    assert CATALOGUE.column(c.MOVIE_ID).to_numpy()[chosen].tolist() == left


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"deny": {"genres": ["Horor"]}}, "rules.deny.genres: the catalogue has no 'Horor'; it has Horror"),
        ({"allow": {"genres": ["Xyz"]}}, "it has (no genres listed), Action, Crime, Drama, Horror, Romance, Sci-Fi"),
        ({"allow": {"movies": [4]}}, "the rules leave nothing to recommend of the 7 movies in the catalogue"),
        ({"min_ratings": 10}, "the rules leave nothing to recommend of the 7 movies in the catalogue"),
    ],
)
def test_rules_that_cannot_be_kept_are_named(given, sentence):
    with pytest.raises(UsageRejected, match=re.escape(sentence)):
        business_rules.allowed(combine(CATALOGUE, CATALOGUE, place_new=False), COUNTS, make_rules(**given))


def test_the_cap_counts_a_movie_for_each_of_its_genres_and_none_for_none():
    movies = combine(CATALOGUE, CATALOGUE, place_new=True)
    assert business_rules.cap(movies, make_rules(), 10) is None
    cap = business_rules.cap(movies, make_rules(max_per_genre=2), 10)
    assert cap.most.tolist() == [2] * 6
    assert cap.groups.sum(axis=1).tolist() == [2, 2, 2, 1, 1, 0, 0]


def test_new_movies_are_a_group_of_their_own_if_a_list_may_not_be_full_of_them():
    tonight = make_catalogue([(2, "Heat (1995)", "Crime"), (99, "New (2026)", "Drama")])
    movies = combine(tonight, CATALOGUE, place_new=True)
    cap = business_rules.cap(movies, make_rules(max_new=0.35), 10)
    assert cap.most.tolist() == [3]
    assert movies.of_model.column(c.MOVIE_ID).to_numpy()[cap.groups[:, 0] > 0].tolist() == [99]
    assert business_rules.cap(movies, make_rules(max_new=1.0), 10) is None
    assert business_rules.cap(combine(tonight, CATALOGUE, place_new=False), make_rules(), 10) is None


def test_what_is_not_listed_tonight_may_not_be_recommended_and_rules_go_by_tonights_genres():
    tonight = make_catalogue([(2, "Heat (1995)", "Crime"), (5, "Alien (1979)", "Drama"), (99, "New (2026)", "Drama")])
    movies = combine(tonight, CATALOGUE, place_new=False)
    ids = CATALOGUE.column(c.MOVIE_ID).to_numpy()
    assert ids[business_rules.allowed(movies, COUNTS, make_rules())].tolist() == [2, 5]
    assert ids[business_rules.allowed(movies, COUNTS, make_rules({"genres": ["Drama"]}))].tolist() == [5]
    with pytest.raises(UsageRejected, match="the model knows none of the 1 movies in tonight's catalogue"):
        business_rules.allowed(combine(tonight.slice(2), CATALOGUE, place_new=False), COUNTS, make_rules())
