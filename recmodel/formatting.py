"""Formatting: numbers, dates and ends of processes as people read them, and texts of others without secrets.

No-break spaces keep a number and its unit on one line.
"""

from __future__ import annotations

import os
import re
import signal
import unicodedata
from collections.abc import Mapping
from datetime import date
from typing import Any

NBSP = "\u00a0"
# One character each, so that columns stay aligned.
_PLAIN = str.maketrans("✓★½…–—−─±×→·‘’“”" + NBSP, "+*+.----~x>.''\"\" ")


def number(value: float) -> str:
    """Format with thousands separators and without decimals: 1234567 as 1,234,567."""
    return f"{value:,.0f}"


def percent(share: float, digits: int = 1) -> str:
    """Format a share as a percentage: 0.0571 as 5.7 %. A share that would round to 0 becomes "< 0.1 %"."""
    smallest = 10 ** -(digits + 2)
    return f"< {100 * smallest:g}{NBSP}%" if 0 < share < smallest / 2 else f"{100 * share:.{digits}f}{NBSP}%"


def plain(value: float | str | None) -> str:
    """Format a table cell: text as it is, whole numbers in full, others with four digits, nothing as a dash."""
    if value is None or isinstance(value, str):
        return value or "–"
    return number(value) if float(value).is_integer() else f"{value:.4g}"


def signed(value: float, digits: int = 0) -> str:
    """Format with a sign: a true minus for negative numbers, ± for what rounds to 0."""
    digits_only = f"{abs(value):,.{digits}f}"
    sign = "±" if not float(digits_only.replace(",", "")) else "+" if value > 0 else "−"
    return f"{sign}{digits_only}"


def day(value: date) -> str:
    """Format a date as 31 January 2026."""
    return f"{value.day}{NBSP}{value:%B}{NBSP}{value.year}"


def short_day(value: date) -> str:
    """Format a date as 31 Jan."""
    return f"{value.day}{NBSP}{value:%b}"


def seconds(value: float) -> str:
    """Format a duration as 45.5 s, 2 min 12 s or 3 h 4 min."""
    if value < 60:
        return f"{value:.1f}{NBSP}s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes}{NBSP}min {rest}{NBSP}s"
    return f"{minutes // 60}{NBSP}h {minutes % 60}{NBSP}min"


def clipped(text: str, max_length: int = 90) -> str:
    """Shorten a text to one or two lines, as titles can be of any length."""
    one_line = " ".join(text.split())
    return one_line if len(one_line) <= max_length else f"{one_line[: max_length - 1]}…"


def stars(rating: float | None) -> str:
    """Format a rating as 3.6 ★, and a missing one as a dash."""
    return "–" if rating is None or rating != rating else f"{rating:.1f}{NBSP}★"


def ascii_only(text: str) -> str:
    """Replace each character that ASCII lacks by one that is like it, or else by a question mark."""

    def like(character: str) -> str:
        return unicodedata.normalize("NFKD", character)[:1].encode("ascii", "ignore").decode() or "?"

    return "".join(character if character.isascii() else like(character) for character in text.translate(_PLAIN))


# Control characters except tab and line feed; marks that change the order of what is shown; other ends of lines.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029]")


def inert(text: str) -> str:
    """Show each character that a terminal would obey as its escape, such as \\x1b; other text stays as it is."""
    return _OBEYED.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


# Secrets belong in the environment. They still come along in what others say: a URI in an error of a library, a setting
# of Spark on a command line, a password in a query.
HIDDEN = "(hidden)"
_SECRET_NAME = (
    r"[\w.-]*(?:secret|passw(?:or)?d|passphrase|token|credential|(?:access|account|api|private)[._-]?key)[\w.-]*"
)
_NAME = re.compile(_SECRET_NAME, re.IGNORECASE)
_USER_INFO = re.compile(r"(?<=://)[^\s@'\"]*:[^\s@'\"]*@")  # user:password@host
# name=value, --name=value, "name": "value"; in a URI's query also sig=value.
_ASSIGNED = re.compile(
    rf"""((?:\b{_SECRET_NAME}|[?&]sig)(?:\s*=\s*|['"]\s*:\s*))("[^"]*"|'[^']*'|[^\s&,;'"()]+)""", re.IGNORECASE
)
_SHORTEST = 6  # characters of a variable's value that are looked for: shorter ones would hide words


def redacted(text: str) -> str:
    """Hide passwords in URIs, values that are assigned to secret names, and values of secret environment variables."""
    for variable, value in os.environ.items():
        if len(value) >= _SHORTEST and value in text and is_secret(variable):
            text = text.replace(value, HIDDEN)
    if "://" in text:
        text = _USER_INFO.sub(f"{HIDDEN}@", text)
    return _ASSIGNED.sub(lambda match: match[1] + _quoted_like(match[2]), text)


def _quoted_like(value: str) -> str:
    quote = value[0] if value[0] in "\"'" else ""
    return f"{quote}{HIDDEN}{quote}"


def is_secret(name: str) -> bool:
    """Return whether the value of a variable or a setting of that name is secret."""
    return _NAME.fullmatch(name) is not None


def redacted_values(values: Any) -> Any:
    """Redact all texts in lists and dictionaries, such as a JSON document."""
    if isinstance(values, str):
        return redacted(values)
    if isinstance(values, Mapping):
        return {name: redacted_values(value) for name, value in values.items()}
    return [redacted_values(value) for value in values] if isinstance(values, list | tuple) else values


_HINTS = {
    signal.SIGKILL: ", as the system does when memory runs out (journalctl -k or dmesg says so)",
    signal.SIGTERM: ", by somebody or by a time limit",
}


def ending(code: int) -> str:
    """Describe how a process ended: its exit code or, for a negative one, the signal and what that may mean."""
    if code >= 0:
        return f"ended with exit code {code}"
    return f"was killed by {signal.Signals(-code).name}{_HINTS.get(signal.Signals(-code), '')}"
