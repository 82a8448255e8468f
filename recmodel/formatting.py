"""Wording: numbers and dates as people read them. No-break spaces keep a number and its unit on one line."""

from __future__ import annotations

from datetime import date

NBSP = "\u00a0"


def number(value: float) -> str:
    """1234567 is 1,234,567."""
    return f"{value:,.0f}"


def percent(share: float, digits: int = 1) -> str:
    """0.0571 is 5.7 %; what is not 0 does not look like it."""
    smallest = 10 ** -(digits + 2)
    return f"< {100 * smallest:g}{NBSP}%" if 0 < share < smallest / 2 else f"{100 * share:.{digits}f}{NBSP}%"


def plain(value: float | str | None) -> str:
    """A word as it is, a whole number in full, any other to four digits, a dash for none."""
    if value is None or isinstance(value, str):
        return value or "–"
    return number(value) if float(value).is_integer() else f"{value:.4g}"


def signed(value: float, digits: int = 0) -> str:
    """With its sign, a real minus, and ± for what rounds to nothing."""
    shown = f"{abs(value):,.{digits}f}"
    sign = "±" if not float(shown.replace(",", "")) else "+" if value > 0 else "−"
    return f"{sign}{shown}"


def day(value: date) -> str:
    """31 January 2026."""
    return f"{value.day}{NBSP}{value:%B}{NBSP}{value.year}"


def short_day(value: date) -> str:
    """31 Jan."""
    return f"{value.day}{NBSP}{value:%b}"


def seconds(value: float) -> str:
    """45.5 s, 2 min 12 s, 3 h 4 min."""
    if value < 60:
        return f"{value:.1f}{NBSP}s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes}{NBSP}min {rest}{NBSP}s"
    return f"{minutes // 60}{NBSP}h {minutes % 60}{NBSP}min"


def clipped(text: str, most: int = 90) -> str:
    """Not longer than a line or two, whatever somebody has put into a title."""
    one_line = " ".join(text.split())
    return one_line if len(one_line) <= most else f"{one_line[: most - 1]}…"


def stars(rating: float | None) -> str:
    """3.6 ★, a dash for none."""
    return "–" if rating is None or rating != rating else f"{rating:.1f}{NBSP}★"
