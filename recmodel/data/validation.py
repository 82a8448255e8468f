"""Validation: how many rows of the input may be rejected, and a record of what was read and of those that were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone

import pyarrow as pa
import pyarrow.compute as pc

from recmodel import schemas as c
from recmodel.data import reading
from recmodel.data.ahead import ahead
from recmodel.data.ids import numbered
from recmodel.data.layouts import Source
from recmodel.data.limits import Input
from recmodel.data.reading import Findings, Rule
from recmodel.data.values import NO_INTEGER, Vocabulary
from recmodel.errors import InputRejected
from recmodel.progress import NOTICE, log
from recmodel.records import InputFile
from recmodel.schemas import INTEGER_IDS, Ids

_MAX_REJECTS = 1_000_000  # kept in memory; a file with more is refused whatever its size
_WHY = ("column", "reason")  # of a reject
_SYSTEMATIC = 0.5  # a reason for which more than this share of the rows is refused is not that of single rows

Remedies = Mapping[str, Callable[[], str]]  # by reason: what to do about rows that are refused for it


@dataclass
class Validation:
    """Counts the rows of all files of a run, keeps the rejected ones, and refuses a file with too many of them."""

    limits: Input
    ids: Ids = INTEGER_IDS  # what the ids are
    rows: dict[str, int] = field(default_factory=dict)  # read, by file name
    used: dict[str, int] = field(default_factory=dict)  # accepted, by file name
    rejects: list[pa.RecordBatch] = field(default_factory=list)
    files: list[InputFile] = field(default_factory=list)  # how each was read, in order
    left_out: int = 0  # ratings later than `limits.as_of`, which count as neither read nor rejected
    newest: int | None = None  # time of the newest accepted rating, in seconds since 1970; None where it is not known

    def accept(
        self,
        source: Source,
        schema: pa.Schema,
        rules: list[Rule],
        remedies: Remedies | None = None,
        note: str = "",
        movies: Vocabulary | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Yield the accepted rows of one table; see `reading.check`.

        Args:
            schema: with ids of int64.
            remedies: what helps where rows are refused for certain reasons, other than to allow more of them.
            note: what was assumed of the whole table; empty for nothing.
            movies: the movie ids that are text; their places stand for them in the rows.

        Raises:
            InputRejected: after the last block, if a greater share of the rows was rejected than the settings
                allow; names file, column, row and value of the first row with the most frequent reason. Or what was
                there at a time is asked for, and the table has no times or nothing of that time.
        """
        findings = Findings()
        schema = c.with_ids(schema, self.ids if movies is None else numbered(self.ids))
        rejects: list[pa.RecordBatch] = []
        reasons: Counter[tuple[str, str]] = Counter()  # with the column
        total, left_out, as_of = 0, 0, self.limits.last_second if c.TIMESTAMP in schema.names else None
        for block in ahead(reading.check(source, schema, rules, self.limits.column_names, findings, movies, as_of)):
            has_times = c.TIMESTAMP in findings.columns.values()
            if as_of is not None and not has_times:
                raise InputRejected(
                    f"{source.path} has no column of times, so what it held as of {self.limits.as_of} is not known; "
                    "leave --as-of (input.as_of) out, or add the column"
                )
            total += block.rows_in
            left_out += block.left_out
            if has_times and block.accepted.num_rows:
                newest = pc.max(block.accepted.column(c.TIMESTAMP)).as_py()
                self.newest = newest if self.newest is None else max(newest, self.newest)
            if block.rejected.num_rows:
                rejects.append(block.rejected)
                reasons.update(zip(*(block.rejected.column(name).to_pylist() for name in _WHY), strict=True))
            if reasons.total() > _MAX_REJECTS:
                break
            yield block.accepted
        count = reasons.total()
        self.rows[source.name] = self.rows.get(source.name, 0) + total  # files of several folders may share a name
        self.used[source.name] = self.used.get(source.name, 0) + total - count
        self.rejects += rejects
        self.left_out += left_out
        self.files.append(_record(source, findings, total, count, note, left_out, self.limits.as_of))
        if left_out and not total:
            raise InputRejected(
                f"all {left_out:,} rows of {source.path} are later than {self.limits.as_of}; choose a later --as-of "
                "(input.as_of)"
            )
        if count > min(_MAX_REJECTS, self.limits.max_rejected_share * total):
            (column, reason), most = reasons.most_common(1)[0]
            first = _first(rejects, column, reason)
            remedy = _default_remedy(findings.columns.get(column), reason, is_systematic=most > _SYSTEMATIC * total)
            raise InputRejected(
                f"{source.path.parent / first['file']}, row {first['row']}, column {column}: {first['value']!r} "
                f"{reason} ({count:,} of {total:,} rows refused, {self.limits.max_rejected_share:.2%} allowed); "
                + ((remedies or {})[reason]() if reason in (remedies or {}) else remedy)
            )

    def read(self, source: Source, schema: pa.Schema, rules: list[Rule]) -> pa.Table:
        """Read the accepted rows of one table into memory; see `accept`."""
        return pa.Table.from_batches(self.accept(source, schema, rules), schema=c.with_ids(schema, self.ids))

    def log_files(self) -> None:
        """Log how each file was read, one line per file."""
        for file in self.files:
            log.log(NOTICE, "%s", file.sentence())

    @property
    def newest_time(self) -> datetime | None:
        """The time of the newest accepted rating; None where it is not known."""
        return None if self.newest is None else datetime.fromtimestamp(self.newest, timezone.utc)

    def rejected(self) -> pa.Table:
        """Return every row rejected so far (`schemas.REJECTS`)."""
        return pa.Table.from_batches(self.rejects, schema=c.REJECTS)


def _first(rejects: list[pa.RecordBatch], column: str, reason: str) -> dict:
    rows = (row for batch in rejects for row in batch.to_pylist())
    return next(row for row in rows if (row["column"], row["reason"]) == (column, reason))


def _default_remedy(column: str | None, reason: str, *, is_systematic: bool) -> str:
    """Return what to do, as the end of a sentence. To allow more rejects only helps where few rows are refused.

    Args:
        column: our name of it; None if the whole row is refused.
    """
    if not is_systematic:
        return "correct the file or raise input.max_rejected_share"
    if column in (c.USER_ID, c.MOVIE_ID) and reason == NO_INTEGER:
        return (
            "ids are read as integers here: those of a model keep their kind, and without one, the settings or the "
            "first rows decide; set input.ids to text if they are text, and train a model in another folder"
        )
    if column == c.TIMESTAMP:
        return "times must be in seconds or milliseconds since 1970 or in ISO 8601, such as 2009-07-17T13:59:43Z"
    return "correct the file"


def _record(
    source: Source, findings: Findings, rows: int, rejected: int, note: str, left_out: int, as_of: str
) -> InputFile:
    assumptions = [*filter(None, [note]), *findings.assumptions]
    if findings.ignored:
        assumptions.append(f"columns that are not used: {', '.join(findings.ignored)}")
    if source.skipped:
        assumptions.append(f"files that are not read: {', '.join(source.skipped)}")
    if left_out:
        assumptions.append(f"{left_out:,} rows later than {as_of} left out")
    return InputFile(
        file=source.name,
        layout=" and ".join(findings.layouts),
        parts=len(source.parts) if source.path.is_dir() else None,
        encoding=" and ".join(findings.encodings),
        assumptions=assumptions,
        rows=rows,
        rejected=rejected,
    )
