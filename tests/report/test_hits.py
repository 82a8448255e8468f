"""How runs did, as the page has it, held against what each user got."""

from datetime import timedelta

import pytest
from support.report import DAY, publish, recommendations

from recmodel import schemas as c
from recmodel.report import hits
from recmodel.tables.output import open_output

# night, source, segment, and of each user there: hits, liked hits, recall, NDCG, recall and NDCG of what was popular
USERS = (
    (1, "model", "1-4", [(1, 1, 0.5, 0.4, 0.0, 0.0), (0, 0, 0.0, 0.0, 1.0, 0.5), (2, 1, 1.0, 0.9, 0.5, 0.25)]),
    (1, "model", "100 and more", [(3, 0, 0.3, 0.6, 0.2, 0.2)]),
    (2, "model", "100 and more", [(0, 0, 0.0, 0.0, 0.1, 0.1), (1, 1, 0.1, 0.2, 0.1, 0.2)]),
    (2, "trending", "1-4", [(0, 0, 0.0, 0.0, 0.0, 0.0)]),
    (3, "model", "20-99", [(5, 2, 0.25, 0.5, 0.25, 0.3)]),
)


def row(night: int, source: str, segment: str, users: list[tuple], liked: bool) -> dict:
    """A row of the table: sums of hits, and means of the rest."""
    found, also_liked, *measures = map(sum, zip(*users, strict=True))
    names = ("recall_10", "ndcg_10", "popular_recall_10", "popular_ndcg_10")
    return {
        c.SCORED_ON: DAY + timedelta(night), c.MODEL_VERSION: f"v{night // 3}", c.RANK_BY: "blend", c.SOURCE: source,
        "segment": segment, "users_back": 10 * len(users), "users_measured": len(users), "hits": found,
        "liked_hits": also_liked if liked else None,
        **{name: total / len(users) for name, total in zip(names, measures, strict=True)},
    }  # fmt: skip


def together(groups, liked: bool = True) -> hits.Hits:
    """All users of some groups, each of whom counts the same."""
    users = [user for *_, of_group in groups for user in of_group]
    found, also_liked, *measures = map(sum, zip(*users, strict=True))
    means = [pytest.approx(total / len(users)) for total in measures]
    return hits.Hits(len(users), found, also_liked if liked else None, *means)


def of_runs(folder, limit: int, liked: bool = True) -> hits.AllHits:
    rows = [row(*group, liked) for group in reversed(USERS)]
    publish(folder, recommendations(range(1, 5), 12), DAY, "v1", tables={c.HITS_TABLE: rows})
    return hits.of_runs(open_output(folder), DAY, limit)


@pytest.mark.parametrize("liked", [True, False])
def test_every_measured_user_counts_the_same_by_run_by_group_and_in_all(tmp_path, liked):
    found = of_runs(tmp_path, 90, liked)
    assert [(run.run_date, run.model_version, run.rank_by, run.of_all) for run in found.runs] == [
        (DAY + timedelta(night), version, "blend", together([group for group in USERS if group[0] == night], liked))
        for night, version in ((1, "v0"), (2, "v0"), (3, "v1"))
    ]
    # Segments are in the order of how much their users have rated, not of their names.
    assert [*found.groups] == [
        ("model", "1-4"), ("model", "20-99"), ("model", "100 and more"), ("trending", "1-4"),
    ]  # fmt: skip
    both_nights = [group for group in USERS if group[1:3] == ("model", "100 and more")]
    assert found.groups["model", "100 and more"] == together(both_nights, liked)
    assert found.together == together(USERS, liked)
    assert found.together.share_liked == (pytest.approx(5 / 12) if liked else None)


def test_only_the_newest_runs_count(tmp_path):
    found = of_runs(tmp_path, 2)
    assert [run.run_date for run in found.runs] == [DAY + timedelta(2), DAY + timedelta(3)]
    assert found.together == together(USERS[2:])
    assert found.groups["trending", "1-4"].share_liked is None  # as there are no hits


def test_a_run_of_a_version_without_the_table_and_one_before_any_rating_have_none(tmp_path):
    output = open_output(tmp_path)
    for tables in (None, {c.HITS_TABLE: []}):
        publish(tmp_path, recommendations(range(1, 5), 12), DAY, "v", tables=tables)
        assert hits.of_runs(output, DAY, 90) == hits.AllHits([], {})
