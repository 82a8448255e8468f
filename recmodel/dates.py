"""Dates: the run dates and moments that people give, read in one way everywhere.

A run date is that of the machine's calendar. A moment is a time in UTC; a date given as one means the end of its day.
"""

from __future__ import annotations

import calendar
import re
from datetime import date, datetime, timedelta, timezone
from typing import NamedTuple

from recmodel.errors import UsageRejected

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_EXAMPLE = "2026-01-31"


def parse_date(text: str, name: str) -> date:
    """Return the date that `text` is, such as 2026-01-31.

    Args:
        name: of the flag that takes it, for the sentence.

    Raises:
        UsageRejected: it is no date.
    """
    try:
        if _DATE.fullmatch(text):  # Python 3.11 takes other forms too
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise UsageRejected(f"{name} {text} is not a date; give one such as {_EXAMPLE}")


def parse_days(text: str, name: str) -> list[date]:
    """Return all days of a date, or of a range such as 2026-01-01..2026-01-31, ascending.

    Raises:
        UsageRejected: it is neither, or the range ends before it begins.
    """
    ends = text.split("..")
    if len(ends) == 1:
        return [parse_date(text, name)]
    try:
        first, last = (parse_date(end, name) for end in ends)
    except (UsageRejected, ValueError):
        raise UsageRejected(
            f"{name} {text} is neither a date nor a range of dates such as 2026-01-01..{_EXAMPLE}"
        ) from None
    if last < first:
        raise UsageRejected(f"{name} {text} ends before it begins; swap its dates: {last}..{first}")
    return [first + timedelta(number) for number in range((last - first).days + 1)]


def parse_range(text: str, name: str) -> tuple[date, date]:
    """Return the first and the last day of a range whose ends are dates or months: 2026-01..2026-03, all of March too.

    Raises:
        UsageRejected: it is no such range, or ends before it begins.
    """
    first, dots, last = text.partition("..")
    try:
        whole = first if _DATE.fullmatch(first) else f"{first}-01"
        days = parse_date(whole, name), parse_date(last, name) if _DATE.fullmatch(last) else _end_of_month(last, name)
    except (UsageRejected, ValueError):
        dots = ""
    if not dots:
        raise UsageRejected(f"{name} {text} is no range of months or dates, such as 2026-01..2026-03") from None
    if days[1] < days[0]:
        raise UsageRejected(f"{name} {text} ends before it begins; swap its ends: {last}..{first}")
    return days


def _end_of_month(text: str, name: str) -> date:
    first = parse_date(f"{text}-01", name)
    return first.replace(day=calendar.monthrange(first.year, first.month)[1])


class Every(NamedTuple):
    """A span of the calendar, by which dates follow each other."""

    text: str  # as it was given
    months: int
    days: int

    def after(self, day: date, times: int = 1) -> date:
        """Return the date that lies so many spans after another; of a month without that day, its last one."""
        if self.days:
            return day + timedelta(self.days * times)
        years, month = divmod(day.month - 1 + self.months * times, 12)
        last = calendar.monthrange(day.year + years, month + 1)[1]
        return date(day.year + years, month + 1, min(day.day, last))

    def dates(self, first: date, last: date) -> list[date]:
        """Return the dates from the first one on, ascending, none of them later than the last one."""
        found = [first]
        while (day := self.after(first, len(found))) <= last:
            found.append(day)
        return found


_SPANS = {"day": (0, 1), "week": (0, 7), "month": (1, 0), "quarter": (3, 0), "year": (12, 0)}


def parse_every(text: str, name: str) -> Every:
    """Return the span that `text` is: a word such as month, or a number of them such as "10 days".

    Raises:
        UsageRejected: it is neither.
    """
    found = re.fullmatch(r"(?:(\d{1,4}) *)?([a-z]+?)s?", text.strip().lower())
    number = int(found[1] or 1) if found else 0
    if found is None or found[2] not in _SPANS or not number:
        raise UsageRejected(
            f'{name} {text} is no span of time; give {", ".join(_SPANS)} or a number of them: "10 days"'
        )
    months, days = _SPANS[found[2]]
    return Every(text, months * number, days * number)


def is_future(day: date) -> bool:
    """Return whether a date lies after tomorrow; tomorrow doesn't count, as time zones differ."""
    return day > date.today() + timedelta(1)


def refuse_future(days: list[date], *, allow: bool) -> None:
    """Refuse run dates after tomorrow, which are most often mistyped.

    Raises:
        UsageRejected: one lies after tomorrow, and the caller doesn't allow it.
    """
    late = [day for day in days if is_future(day)]
    if late and not allow:
        raise UsageRejected(
            f"the run date {late[0]} is in the future (today is {date.today()}); give another --run-date, or "
            "--allow-future if it is meant"
        )


def last_second(text: str) -> int:
    """Return the last second of a moment, since 1970: of a date such as 2026-01-31, the end of that day in UTC.

    Args:
        text: a date, or a time in ISO 8601 such as 2026-01-31T12:00 or 2026-01-31T12:00:00+01:00; without an offset
            it is in UTC.

    Raises:
        ValueError: it is neither.
    """
    try:
        if _DATE.fullmatch(text):
            return int(end_of(date.fromisoformat(text)).timestamp())
        moment = datetime.fromisoformat(re.sub("[zZ]$", "+00:00", text))
    except ValueError:
        raise ValueError(
            f"{text!r} is neither a date such as {_EXAMPLE} nor a time such as {_EXAMPLE}T12:00:00+01:00"
        ) from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp() // 1)


def end_of(day: date) -> datetime:
    """Return the last second of a day in UTC."""
    return datetime(day.year, day.month, day.day, 23, 59, 59, tzinfo=timezone.utc)
