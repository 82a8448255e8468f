"""Redaction: what is secret is hidden in whatever is printed, logged, recorded or handed to a hook.

Secrets belong in the environment. They still come along in what others say: a URI in an error of a library, a
setting of Spark on a command line, a password in a query.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

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
