"""A run compared with earlier runs of the same settings."""

from datetime import timedelta

from support.report import DAY, publish, recommendations

from recmodel.records import RunRecord
from recmodel.report import drift
from recmodel.settings import Rules
from recmodel.tables.output import open_output


def test_a_run_is_compared_with_earlier_runs_of_the_same_settings(tmp_path):
    for number, changes in enumerate(({}, {}, {"rank_by": "rating"}, {"all_users": False}, {}, {})):
        publish(
            tmp_path, recommendations(range(1, 20 + number), 12, seed=number), DAY + timedelta(number), "v", **changes
        )
    output = open_output(tmp_path)
    nights = drift.nights(output, DAY + timedelta(4), limit=9)
    assert [night.run_date.day for night in nights] == [31, 1, 4]
    assert [night.users for night in nights] == [19, 20, 23]
    assert [night.overlap and night.overlap.users for night in nights] == [None, 19, 20]
    assert nights[-1].coverage == 12 / 40
    assert len(drift.nights(output, DAY + timedelta(5), limit=2)) == 2
    assert len(drift.nights(output, DAY + timedelta(3), limit=9)) == 1  # only some users: compared with no other run


def make_rules(allow=None, deny=None, **more) -> Rules:
    given = {"min_ratings": 0, "max_per_genre": 0, "max_new": 0.2, "deny_pairs": "", "opt_out": ""}
    return Rules(allow=NONE | (allow or {}), deny=NONE | (deny or {}), **(given | more))


NONE = {"genres": [], "years": [], "movies": []}


def test_runs_are_comparable_under_the_same_rules_only():
    def run(rules: Rules | None = None) -> RunRecord:
        settings = {"scoring": {"top_n": 10}, **({"rules": rules.model_dump()} if rules else {})}
        return RunRecord(run_date=DAY, model_version="v", settings=settings)

    assert run(make_rules()).is_comparable_with(run())  # of an older version, which had no rules
    assert run(make_rules(min_ratings=3)).is_comparable_with(run(make_rules(min_ratings=3)))
    assert not run(make_rules(min_ratings=3)).is_comparable_with(run())
    assert not run(make_rules(deny={"genres": ["Horror"]})).is_comparable_with(run(make_rules()))
