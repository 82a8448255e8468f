"""Tally: what was read of a table, or of a share of it, and what became of its rows.

Shares are tallied where they are read, and their tallies are merged in the order of the rows: the result is that of one
reading of the whole table, whoever has read what.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from recmodel import schemas as c
from recmodel.data import pieces, reading
from recmodel.data.ahead import ahead
from recmodel.data.pieces import Piece, Share
from recmodel.data.reading import Checked, Contract, Findings
from recmodel.data.rules import OnScale, widened
from recmodel.data.values import Decisions
from recmodel.errors import InputRejected

MAX_REJECTS = 1_000_000  # of a table; one with more is refused whatever its size
_WHY = ("column", "reason")  # of a reject


@dataclass
class Reason:
    """Why rows are refused."""

    count: int
    first: dict[str, Any]  # `schemas.REJECTS`


@dataclass
class Tally:
    """What was read, and what became of it."""

    findings: Findings = field(default_factory=Findings)
    decisions: Decisions = field(default_factory=Decisions)  # those of rows before these, and of these
    rows: int = 0  # accepted or refused
    rejected: int = 0
    left_out: int = 0  # rows of a later time than was asked for, which are neither
    newest: int | None = None  # time of the newest accepted row, in seconds since 1970; None where it is not known
    reasons: dict[tuple[str, str], Reason] = field(default_factory=dict)  # by column and reason, in order
    observed: list[float] = field(default_factory=list)  # see `rules.OnScale`
    failure: str = ""  # the sentence with which reading has ended before the end

    def add(self, block: Checked) -> None:
        """Count a block of rows."""
        self.rows += block.rows_in
        self.left_out += block.left_out
        if self.findings.has_times and block.accepted.num_rows:
            newest = pc.max(block.accepted.column(c.TIMESTAMP)).as_py()
            self.newest = newest if self.newest is None else max(newest, self.newest)
        if not block.rejected.num_rows:
            return
        self.rejected += block.rejected.num_rows
        for row, why in enumerate(zip(*(block.rejected.column(name).to_pylist() for name in _WHY), strict=True)):
            if why in self.reasons:
                self.reasons[why].count += 1
            else:
                self.reasons[why] = Reason(1, block.rejected[row : row + 1].to_pylist()[0])

    @property
    def has_too_many_rejects(self) -> bool:
        """Whether the table is refused, whatever else is in it."""
        return self.rejected > MAX_REJECTS

    @property
    def most_frequent(self) -> Reason:
        """The reason for which most rows are refused; of several, the one that was met first."""
        return max(self.reasons.values(), key=lambda reason: reason.count)


def lines_before(shares: Sequence[Share], tallies: Sequence[Tally]) -> list[int]:
    """Return the number to add to the row numbers of each share: of those that begin in the middle of a file."""
    before, lines = [], 0
    for share, tally in zip(shares, tallies, strict=True):
        if not pieces.is_continuation(share):
            lines = 0
        before.append(lines)
        lines += tally.findings.lines
    return before


def merged(shares: Sequence[Share], tallies: Sequence[Tally]) -> Tally:
    """Return the tally of several shares, one after the other, up to the first whose reading has ended early."""
    whole = Tally()
    for tally, before in zip(tallies, lines_before(shares, tallies), strict=True):
        for name in ("layouts", "encodings", "assumptions", "columns", "ignored"):
            setattr(whole.findings, name, getattr(whole.findings, name) | getattr(tally.findings, name))
        whole.decisions = whole.decisions.then(tally.decisions)
        whole.rows += tally.rows
        whole.rejected += tally.rejected
        whole.left_out += tally.left_out
        whole.newest = max((time for time in (whole.newest, tally.newest) if time is not None), default=None)
        whole.observed = widened(whole.observed, tally.observed)
        for why, reason in tally.reasons.items():
            first = {**reason.first, "row": reason.first["row"] + before}
            known = whole.reasons.setdefault(why, Reason(0, first))
            known.count += reason.count
        if whole.has_too_many_rejects or tally.failure:
            whole.failure = "" if whole.has_too_many_rejects else tally.failure
            break
    return whole


def overruled(tallies: Sequence[Tally]) -> dict[int, Decisions]:
    """Return the shares that have decided what earlier rows had decided otherwise, with the decisions of these.

    Shares are read before all rows before them are; such a share has to be read again.
    """
    found, known = {}, Decisions()
    for number, tally in enumerate(tallies):
        if not known.agrees(tally.decisions):
            found[number] = known.copy()
        known = known.then(tally.decisions)
    return found


def accepted(
    of_table: Iterable[Piece], contract: Contract, tally: Tally, keep: Callable[[Checked], None]
) -> Iterator[pa.RecordBatch]:
    """Yield the accepted rows of pieces of a table; see `reading.check`.

    Args:
        tally: gets what becomes of the rows, also if they cannot be read; has the decisions of earlier rows.
        keep: takes each block that has rejected rows.
    """
    contract = replace(contract, rules=[copy(rule) for rule in contract.rules])  # which remember what they have seen
    try:
        for block in ahead(reading.check(of_table, contract, tally.findings, tally.decisions)):
            tally.add(block)
            if block.rejected.num_rows:
                keep(block)
            if tally.has_too_many_rejects:
                break
            yield block.accepted
    except InputRejected as error:
        tally.failure = str(error)
    for rule in contract.rules:
        if isinstance(rule, OnScale):
            tally.observed = rule.observed
