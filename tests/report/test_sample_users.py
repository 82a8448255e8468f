"""Which users the report shows."""

from collections import Counter

from recmodel import schemas as c
from recmodel.report import sample_users


def test_a_dozen_users_have_few_average_and_many_ratings():
    sources = {user: c.SOURCE_POPULARITY if user > 100 else c.SOURCE_MODEL for user in range(1, 120)}
    histories = {user: [{}] * user for user in sources}
    kinds = sample_users.select(sources, histories)
    assert Counter(kinds.values()) == {
        "few ratings": 3, "average number of ratings": 3, "many ratings": 3, "cold start": 3,
    }  # fmt: skip
    assert max(user for user, kind in kinds.items() if kind == "few ratings") < 15
    assert min(user for user, kind in kinds.items() if kind == "many ratings") > 85
    only_model = sample_users.select(dict.fromkeys(range(1, 101), c.SOURCE_MODEL), histories)
    assert len(only_model) == sample_users.MAX_USERS
    assert sample_users.select({3: c.SOURCE_MODEL}, {}) == {3: ""}
