"""Dates as people give them."""

from datetime import date, timedelta

import pytest

from recmodel import dates
from recmodel.errors import UsageRejected


def test_a_range_has_both_its_ends():
    assert dates.parse_days("2026-02-27..2026-03-01", "--run-date") == [
        date(2026, 2, 27), date(2026, 2, 28), date(2026, 3, 1)
    ]  # fmt: skip
    assert dates.parse_days("2026-02-28", "--run-date") == [date(2026, 2, 28)]
    assert dates.parse_days("2026-02-28..2026-02-28", "--run-date") == [date(2026, 2, 28)]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("2026-03-10..2026-03-01", "ends before it begins; swap its dates: 2026-03-01..2026-03-10"),
        ("2026-01-01..", "is neither a date nor a range"),
        ("..", "is neither a date nor a range"),
        ("2026-01-01..2026-01-02..2026-01-03", "is neither a date nor a range"),
        ("2026-02-30", "is not a date"),
        ("20260131", "is not a date"),
        ("soon", "--run-date soon is not a date; give one such as 2026-01-31"),
    ],
)
def test_what_is_no_date_or_range_is_refused(text, sentence):
    with pytest.raises(UsageRejected) as caught:
        dates.parse_days(text, "--run-date")
    assert sentence in str(caught.value)


def test_tomorrow_is_not_the_future_and_the_day_after_is():
    tomorrow = date.today() + timedelta(1)
    dates.refuse_future([tomorrow], allow=False)
    dates.refuse_future([tomorrow + timedelta(1)], allow=True)
    with pytest.raises(UsageRejected, match="in the future .* or --allow-future if it is meant"):
        dates.refuse_future([tomorrow, tomorrow + timedelta(1)], allow=False)


@pytest.mark.parametrize(
    ("text", "second"),
    [
        ("1970-01-01", 86_399),
        ("1970-01-02T00:00", 86_400),
        ("1970-01-02T00:00:01Z", 86_401),
        ("1970-01-02 01:00:00+01:00", 86_400),
    ],
)
def test_a_moment_is_in_utc_and_a_date_means_the_end_of_its_day(text, second):
    assert dates.last_second(text) == second


def test_what_is_no_moment_is_refused():
    with pytest.raises(ValueError, match="'last week' is neither a date such as 2026-01-31 nor a time such as"):
        dates.last_second("last week")


def test_a_range_of_months_has_all_of_its_last_month():
    assert dates.parse_range("2023-12..2024-02", "D") == (date(2023, 12, 1), date(2024, 2, 29))
    assert dates.parse_range("2024-01-15..2024-02", "D") == (date(2024, 1, 15), date(2024, 2, 29))
    assert dates.parse_range("2024-01..2024-01-01", "D") == (date(2024, 1, 1), date(2024, 1, 1))


@pytest.mark.parametrize("text", ["2024", "2024-01", "2024-13..2024-14", "..", "2024-1..2024-2", "2024-02..2024-01"])
def test_what_is_no_range_of_months_is_refused(text):
    with pytest.raises(UsageRejected, match=r"no range of months or dates|ends before it begins"):
        dates.parse_range(text, "D")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("month", [date(2024, 1, 31), date(2024, 2, 29), date(2024, 3, 31)]),
        ("4 weeks", [date(2024, 1, 31), date(2024, 2, 28), date(2024, 3, 27)]),
        ("Quarter", [date(2024, 1, 31), date(2024, 4, 30), date(2024, 7, 31)]),
        ("2 years", [date(2024, 1, 31), date(2026, 1, 31), date(2028, 1, 31)]),
    ],
)
def test_spans_follow_the_calendar(text, expected):
    every = dates.parse_every(text, "--every")
    assert every.dates(expected[0], expected[-1]) == expected
    assert every.dates(expected[0], expected[-1] - timedelta(1)) == expected[:-1]


@pytest.mark.parametrize("text", ["", "0 days", "fortnight", "-1 week", "1.5 weeks", "days 3"])
def test_what_is_no_span_is_refused(text):
    with pytest.raises(UsageRejected, match="--every .*is no span of time"):
        dates.parse_every(text, "--every")
