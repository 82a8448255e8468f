"""The page of replayed nights."""

from datetime import date

import pandas as pd

from recmodel import schemas as c
from recmodel.evaluation import replayed
from recmodel.report import backtest


def frames(nights: int, liked: float = 1.0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What `replayed` makes of two methods after some nights, with hostile names."""
    rows = [
        (date(2025, 1 + night, 1), method, group, user, 4, 2, liked, 0.5, (night + user + len(method)) / 100)
        for night in range(nights)
        for method in ("<b>mine</b>", "trending", "popularity")
        for group, user in (("returning", 1), ("returning", 2), ("new", 10 + night))
    ]
    names = [c.SCORED_ON, "method", "users", "user", c.RATINGS_COUNT, "hits", "liked_hits", "recall_10", "ndcg_10"]
    outcomes = pd.DataFrame(rows, columns=names)
    return replayed.by_night(outcomes), replayed.by_method(outcomes)


def test_all_nights_so_far_are_a_mean_over_their_users():
    so_far, by_night = backtest._charts("returning", frames(3)[0].query("users == 'returning'"))
    for chart, expected in ((by_night, [0.115, 0.125, 0.135]), (so_far, [0.115, 0.12, 0.125])):
        points = [row for row in chart.spec["data"]["values"] if row["method"] == "popularity"]
        assert [round(point["NDCG@10"], 9) for point in points] == expected
        assert [row["popularity"] for row in chart.numbers] == [point["NDCG@10"] for point in points]
        assert f"popularity {expected[-1]:.4f}" in chart.description


def test_the_page_shows_both_groups_as_text():
    page = backtest.render("Nights", "About.", *frames(2), ["All movies are in the catalogue."])
    assert "&lt;b&gt;mine&lt;/b&gt;" in page
    assert "<b>mine</b>" not in page.split("<script")[0]
    assert page.index("Users who came back") < page.index("New users") < page.index("All movies are in the catalogue.")
    assert page.count('role="img"') == 4
    assert page.count("&lt;b&gt;mine&lt;/b&gt;</th><td") == 1  # new users get what is trending, whatever the model
    assert "2 users rated for the first time after a night" in page


def test_a_single_night_and_implicit_feedback_have_less_to_show():
    page = backtest.render("Nights", "About.", *frames(1, float("nan")), [])
    assert 'role="img"' not in page
    assert "liked" not in page.split("<main>")[1].split("<script")[0].lower()
