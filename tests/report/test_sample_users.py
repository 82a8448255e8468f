"""Which users the report shows."""

from collections import Counter
from datetime import date

from recmodel import schemas as c
from recmodel.records import IMPLICIT, RunRecord
from recmodel.report import sample_users
from recmodel.scoring import policies


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


def recommended(stars: float | None, source: str = c.SOURCE_MODEL) -> dict:
    return {c.PREDICTED_RATING: stars, c.SOURCE: source}


def run(rank_by: str, **changes) -> RunRecord:
    scale = {"input": {"rating_min": 1.0, "rating_max": 10.0}}
    return RunRecord(run_date=date(2026, 1, 31), model_version="v", settings=scale, rank_by=rank_by, **changes)


def test_few_stars_are_below_the_users_mean_or_the_middle_of_the_scale():
    few = sample_users.FewStars.of(run("retrieval"))
    harsh, mild, cold = (
        sample_users.SampleUser(1, "", [{c.RATING: rating} for rating in ratings], [])
        for ratings in ([2.0, 4.0], [8.0, 9.0], [])
    )
    for user, limit in ((harsh, 5.5), (mild, 8.5), (cold, 5.5)):
        assert few.are(recommended(limit - 0.1), user)
        assert not few.are(recommended(limit - 0.01), user)  # both are shown as the same
    assert not few.are(recommended(None), mild)
    assert not few.are(recommended(float("nan")), mild)
    for unknown in (run("retrieval", feedback=IMPLICIT), run("retrieval").model_copy(update={"settings": {}})):
        assert not sample_users.FewStars.of(unknown).are(recommended(1.0), mild)


def test_why_few_stars_are_recommended_is_said_once_by_policy():
    users = [sample_users.SampleUser(i, "", [{c.RATING: 7.0}], [recommended(i)]) for i in (5, 6, 7)]
    for policy in policies.NAMES:
        sentence = sample_users.FewStars.of(run(policy)).sentence(users)
        assert sentence.startswith("2 of these 3 users are offered movies (▾) of fewer stars than their own mean")
        assert "Lists" in sentence
    assert sample_users.FewStars.of(run("blend")).sentence(users[2:]) == ""
    hidden = sample_users.SampleUser(8, "", [], [recommended(9.0)] * sample_users.SHOWN + [recommended(1.0)])
    assert sample_users.FewStars.of(run("blend")).sentence([hidden]) == ""
    popular = sample_users.SampleUser(9, "", [], [recommended(1.0, c.SOURCE_TRENDING)])
    assert "Lists" not in sample_users.FewStars.of(run("blend")).sentence([popular])
