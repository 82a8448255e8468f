"""Lists of a self-attentive sequential model, to be compared with ours on the same split.

Source: Kang and McAuley, "Self-Attentive Sequential Recommendation", 2018, in the implementation of RecTools. It needs
an older NumPy than recmodel, so it runs in an environment of its own:

    ./submit.sh evaluate --data ml-latest-small --split last-out --write-split split
    python -m venv peers && peers/bin/pip install 'rectools[torch]' 'pyarrow<20'
    peers/bin/python tests/benchmarks/sasrec.py split sasrec.parquet
    ./submit.sh evaluate --data ml-latest-small --split last-out --lists sasrec.parquet
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

_LIST_LENGTH = 100


def main() -> None:
    """Fit to a split that `evaluate --write-split` wrote, and write a list for each of its users."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("split", type=Path, help="folder of fitted.parquet and held_out.parquet")
    parser.add_argument("lists", type=Path, help="the file to write")
    parser.add_argument("--epochs", type=int, default=40)
    arguments = parser.parse_args()

    fitted = pd.read_parquet(arguments.split / "fitted.parquet")
    users = pd.read_parquet(arguments.split / "held_out.parquet")["user_id"].unique()
    fitted = fitted.sort_values(["user_id", "timestamp", "movie_id"])
    order = fitted.groupby("user_id").cumcount()  # ratings of one second keep the order that ours have
    frame = pd.DataFrame(
        {
            Columns.User: fitted["user_id"],
            Columns.Item: fitted["movie_id"],
            Columns.Weight: 1.0,
            Columns.Datetime: pd.Timestamp("2000-01-01") + pd.to_timedelta(order, unit="min"),
        }
    )
    dataset = Dataset.construct(frame)
    model = SASRecModel(
        n_factors=128, n_blocks=2, n_heads=2, session_max_len=100, dropout_rate=0.3, epochs=arguments.epochs,
        batch_size=64, deterministic=True, recommend_torch_device="cpu",
    )  # fmt: skip
    model.fit(dataset)
    able = users[pd.Series(users).isin(frame[Columns.User])]
    found = model.recommend(able, dataset, k=_LIST_LENGTH, filter_viewed=True)
    found = found.rename(columns={Columns.Item: "movie_id", Columns.Rank: "rank"})
    found[["user_id", "rank", "movie_id"]].to_parquet(arguments.lists, index=False)


if __name__ == "__main__":
    main()
