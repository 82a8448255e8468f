"""Validation: how many rows of the input may be rejected, and a record of what was read and of those that were."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone

import pyarrow as pa

from recmodel import schemas as c
from recmodel import storage
from recmodel.data import reading
from recmodel.data.ids import numbered
from recmodel.data.layouts import Source
from recmodel.data.limits import Input
from recmodel.data.reading import Contract, Rule
from recmodel.data.tally import MAX_REJECTS, Tally, accepted
from recmodel.data.values import NO_INTEGER, Vocabulary
from recmodel.errors import InputRejected
from recmodel.progress import NOTICE, log
from recmodel.records import InputFile
from recmodel.schemas import INTEGER_IDS, Ids

_SYSTEMATIC = 0.5  # a reason for which more than this share of the rows is refused is not that of single rows

Remedies = Mapping[str, Callable[[Tally], str]]  # by reason: what to do about rows that are refused for it


@dataclass(frozen=True)
class Request:
    """A table that is to be read."""

    source: Source
    contract: Contract
    remedies: Remedies = field(default_factory=dict)  # what helps, other than to allow more rejects
    note: str = ""  # what was assumed of the whole table; empty for nothing


@dataclass
class Validation:
    """Counts the rows of all files of a run, keeps the rejected ones, and refuses a file with too many of them."""

    limits: Input
    ids: Ids = INTEGER_IDS  # what the ids are
    rows: dict[str, int] = field(default_factory=dict)  # read, by file name
    used: dict[str, int] = field(default_factory=dict)  # accepted, by file name
    rejects: list[pa.RecordBatch] = field(default_factory=list)  # but for those that tasks have written
    files: list[InputFile] = field(default_factory=list)  # how each was read, in order
    left_out: int = 0  # ratings later than `limits.as_of`, which count as neither read nor rejected
    newest: int | None = None  # time of the newest accepted rating, in seconds since 1970; None where it is not known

    def request(
        self,
        source: Source,
        schema: pa.Schema,
        rules: list[Rule],
        remedies: Remedies | None = None,
        note: str = "",
        movies: Vocabulary | None = None,
    ) -> Request:
        """Return what is to be read, and how.

        Args:
            schema: with ids of int64.
            remedies: see `Request`.
            note: see `Request`.
            movies: the movie ids that are text; their places stand for them in the rows.
        """
        schema = c.with_ids(schema, self.ids if movies is None else numbered(self.ids))
        has_times = c.TIMESTAMP in schema.names
        contract = Contract(
            table=source.location,
            schema=schema,
            rules=rules,
            names=self.limits.column_names,
            movies=movies,
            as_of=self.limits.as_of if has_times else "",
            last_second=self.limits.last_second if has_times else None,
        )
        return Request(source, contract, remedies or {}, note)

    def accept(self, request: Request) -> Iterator[pa.RecordBatch]:
        """Yield the accepted rows of one table, read in this process; see `reading.check`.

        Raises:
            InputRejected: see `conclude`; or a file cannot be read.
        """
        tally, rejects = Tally(), list[pa.RecordBatch]()
        pieces = (piece for share in reading.shares(request.source, request.contract.schema) for piece in share)
        yield from accepted(pieces, request.contract, tally, lambda block: rejects.append(block.rejected))
        self.rejects += rejects
        self.conclude(request, tally)

    def conclude(self, request: Request, tally: Tally) -> None:
        """Note what was read of a table, and refuse it if that is not good enough.

        Raises:
            InputRejected: reading has failed; or a greater share of the rows was rejected than the settings allow:
                names file, column, row and value of the first row with the most frequent reason. Or what was there at
                a time is asked for, and the table has nothing of that time.
        """
        if tally.failure:
            raise InputRejected(tally.failure)
        source, total, count = request.source, tally.rows, tally.rejected
        self.rows[source.name] = self.rows.get(source.name, 0) + total  # files of several folders may share a name
        self.used[source.name] = self.used.get(source.name, 0) + total - count
        self.left_out += tally.left_out
        if tally.newest is not None:
            self.newest = tally.newest if self.newest is None else max(tally.newest, self.newest)
        self.files.append(_record(request, tally, self.limits.as_of))
        if tally.left_out and not total:
            raise InputRejected(
                f"all {tally.left_out:,} rows of {source.location} are later than {self.limits.as_of}; choose a later "
                "--as-of (input.as_of)"
            )
        if count > min(MAX_REJECTS, self.limits.max_rejected_share * total):
            most = tally.most_frequent
            column, reason = most.first["column"], most.first["reason"]
            named, is_systematic = tally.findings.columns.get(column), most.count > _SYSTEMATIC * total
            raise InputRejected(
                f"{storage.below(storage.above(source.location), most.first['file'])}, row {most.first['row']}, column "
                f"{column}: {most.first['value']!r} {reason} ({count:,} of {total:,} rows refused, "
                f"{self.limits.max_rejected_share:.2%} allowed); "
                + (
                    request.remedies[reason](tally)
                    if reason in request.remedies
                    else _default_remedy(named, reason, is_systematic=is_systematic)
                )
            )

    def read(self, source: Source, schema: pa.Schema, rules: list[Rule]) -> pa.Table:
        """Read the accepted rows of one table into memory; see `accept`."""
        batches = self.accept(self.request(source, schema, rules))
        return pa.Table.from_batches(batches, schema=c.with_ids(schema, self.ids))

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


def _record(request: Request, tally: Tally, as_of: str) -> InputFile:
    source, findings = request.source, tally.findings
    assumptions = [*filter(None, [request.note]), *findings.assumptions]
    if findings.ignored:
        assumptions.append(f"columns that are not used: {', '.join(findings.ignored)}")
    if source.skipped:
        assumptions.append(f"files that are not read: {', '.join(source.skipped)}")
    if tally.left_out:
        assumptions.append(f"{tally.left_out:,} rows later than {as_of} left out")
    return InputFile(
        file=source.name,
        layout=" and ".join(findings.layouts),
        parts=len(source.parts) if source.is_folder else None,
        encoding=" and ".join(findings.encodings),
        assumptions=assumptions,
        rows=tally.rows,
        rejected=tally.rejected,
    )
