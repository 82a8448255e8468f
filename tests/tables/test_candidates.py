"""Which users of a run are shown to people."""

from collections import Counter

from support.report import recommendations, write

from recmodel import schemas as c
from recmodel.tables.candidates import candidate_users


def test_the_same_users_are_candidates_in_every_run(tmp_path):
    popular = set(range(5, 600, 10))
    frame = recommendations(range(1, 600), movies=9, n=2, popular=popular)
    candidates = candidate_users(write(frame, tmp_path / "a"), 20, 4)
    assert Counter(candidates.values()) == {c.SOURCE_MODEL: 20, c.SOURCE_POPULARITY: 4}
    assert {user for user, source in candidates.items() if source == c.SOURCE_POPULARITY} <= popular
    frame.loc[frame[c.SOURCE] == c.SOURCE_MODEL, c.SOURCE] = c.SOURCE_CONTENT  # whose first movie is a new one
    assert candidate_users(write(frame, tmp_path / "new"), 20, 4) == candidates
    later = frame[frame[c.USER_ID] != next(iter(candidates))]
    again = candidate_users(write(later, tmp_path / "b", files=7), 20, 4)
    assert len(set(candidates) & set(again)) == 23
