"""Ahead: the next items of an iterator are made by another thread while the last one is used.

Arrow and NumPy leave Python's lock while they decode, convert and compress, so that a chain of such steps uses as many
cores as it has steps, and every step still sees its items in their order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")
_END = object()


def ahead(items: Generator[_Item], most: int = 2) -> Generator[_Item]:
    """Yield the items, of which a thread makes at most `most` in advance. Whatever it raises is raised here."""
    with ThreadPoolExecutor(1) as thread:
        try:
            waiting = deque(thread.submit(next, items, _END) for _ in range(most))
            while (item := waiting.popleft().result()) is not _END:
                waiting.append(thread.submit(next, items, _END))
                yield item  # type: ignore[misc]
        finally:
            thread.submit(items.close).result()
