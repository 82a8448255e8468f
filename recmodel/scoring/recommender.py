"""Serving: a SavedModel, loaded, with NumPy in and out, and the exact top N of `topn` on the vectors it gives.

Needs TensorFlow and nothing of training: this is what runs in Spark's workers and behind `show` and `predict`.
"""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from recmodel import schemas as c
from recmodel.scoring import reasons, rules, topn


@dataclass(frozen=True)
class TopN:
    """Recommendations of B users: row b holds `count[b]` movies, best first, then padding (-1 and NaN)."""

    row: np.ndarray  # [B, n] int64, of the catalogue
    movie_id: np.ndarray  # [B, n] int64
    retrieval_score: np.ndarray  # [B, n] float32
    predicted_rating: np.ndarray  # [B, n] float32, stars
    because: np.ndarray  # [B, n] int64, row of the liked movie that speaks most for it; -1 where none does
    count: np.ndarray  # [B] int32
    known_user: np.ndarray  # [B] bool


@dataclass(frozen=True)
class Pairs:
    """Scores of B pairs; NaN where the user or the movie is unknown."""

    retrieval_score: np.ndarray  # [B] float32
    predicted_rating: np.ndarray  # [B] float32, stars
    known_user: np.ndarray  # [B] bool
    known_movie: np.ndarray  # [B] bool


Lists = Sequence[np.ndarray]  # one array a user


class Recommender:
    """A loaded model. Ids may be any integers; they are served as int64.

    Where a method takes what users have seen, `seen_movie_ids` and `seen_ratings` hold one array a user, of the movies
    they rated (each once, in any order) and their ratings in stars. A model that knows users by id alone may be asked
    without, except for recommendations.

    Args:
        allowed: [M] bool, the movies of the catalogue that may be recommended; all if it is not given.
    """

    def __init__(self, directory: str | Path, allowed: np.ndarray | None = None) -> None:
        from recmodel.tf import tf  # seconds; not before a model is needed

        self._tf = tf
        self._allowed = allowed
        self._loaded = tf.saved_model.load(str(directory))
        signatures = self._loaded.signatures
        self._takes = {name: signatures[name].structured_input_signature[1] for name in signatures}

    @property
    def needs_history(self) -> bool:
        """Whether it knows users by what they have seen, and not by id."""
        return "seen_movie_id" in self._takes["predict"]

    def predict(
        self,
        user_ids: object,
        movie_ids: object,
        seen_movie_ids: Lists | None = None,
        seen_ratings: Lists | None = None,
    ) -> Pairs:
        """Scores of the pairs (user_ids[i], movie_ids[i]); with histories, one for each pair.

        Raises:
            TypeError: ids that are not integers.
            ValueError: not as many users as movies, or a history is needed and missing.
        """
        users, movies = _int64(user_ids, "user_ids"), _int64(movie_ids, "movie_ids")
        if users.shape != movies.shape:
            raise ValueError(f"{len(users)} user ids and {len(movies)} movie ids do not make pairs")
        history = self._history(len(users), seen_movie_ids, seen_ratings)
        return Pairs(**self._call("predict", {c.USER_ID: users, c.MOVIE_ID: movies, **history}))

    def recommend(
        self,
        user_ids: object,
        seen_movie_ids: Lists,
        seen_ratings: Lists,
        *,
        n: int = 10,
        rank_by: str = "retrieval",
        candidates: int = 200,
        include_seen: bool = False,
        denied: Lists | None = None,
        cap: rules.Cap | None = None,
        liked_from: float | None = None,
        rated: bool = True,
    ) -> TopN:
        """The exact top n of the catalogue for each user; like the signature `recommend`, but faster; see `topn`.

        Args:
            denied: movie ids that a user must not be recommended, whether seen or not.
            cap: see `rules.lists`. With two-stage the candidates that were retrieved are ranked and taken within it;
                where they do not fill a list, as many more are retrieved of what still fits.
            liked_from: stars, see `reasons.liked`; no reasons are looked for if it is not given.
            rated: False spares a ranking by retrieval the predicted ratings, which are NaN then.

        Raises:
            TypeError: ids that are not integers.
            ValueError: an unknown `rank_by`, n or candidates below 1, or lists that do not fit the users.
        """
        user_ids = _int64(user_ids, "user_ids")
        if rank_by not in ("retrieval", "rating", "two-stage") or n < 1 or candidates < 1:
            raise ValueError(f"cannot rank the top {n} by {rank_by!r} from {candidates} candidates")
        if not len(user_ids):  # TensorFlow cannot map over nobody
            nothing = np.empty((0, n), np.float32)
            no_ids = nothing.astype(np.int64)
            return TopN(no_ids, no_ids, nothing, nothing, no_ids, np.empty(0, np.int32), np.empty(0, bool))
        seen = _flat_lists(seen_movie_ids, seen_ratings, len(user_ids))
        users = self._call("user_vectors", {c.USER_ID: user_ids, **seen})
        history, in_catalogue = topn.pairs(self._movies[c.MOVIE_ID], seen_movie_ids)
        hidden = topn.NO_PAIRS if include_seen else history
        if denied is not None:
            hidden = hidden.and_also(topn.pairs(self._movies[c.MOVIE_ID], denied)[0])
        search = self._search(user_ids, users, rank_by, candidates)
        top = rules.lists(search, len(user_ids), n, hidden, cap)
        row = np.where(users["known_user"][:, np.newaxis], top.row, -1)
        score = rating = top.score
        if rank_by == "retrieval":
            rating = self._rate_lists(users["rating"], row) if rated else np.full_like(score, np.nan)
        else:
            score = self._by_retrieval.scores(users["retrieval"], row)
        because = np.full_like(row, -1)
        if liked_from is not None and "seen" in self._movies:  # not in models of before there were reasons
            liked = reasons.liked(history, seen["seen_rating"][in_catalogue], liked_from)
            weight = users["seen_weight"][in_catalogue] if self.needs_history else np.ones(len(liked), np.float32)
            because = self._because(row, history, weight * liked, not_itself=include_seen)
        none = row < 0
        return TopN(
            row=row,
            movie_id=np.where(none, -1, self._movies[c.MOVIE_ID][row]),
            retrieval_score=np.where(none, np.float32(np.nan), score),
            predicted_rating=np.where(none, np.float32(np.nan), rating),
            because=because,
            count=(~none).sum(axis=1, dtype=np.int32),
            known_user=users["known_user"],
        )

    def memory(self, n: int, rank_by: str) -> tuple[int, int]:
        """What `recommend` needs at its peak beside the model: bytes a user, and bytes a rating of their history."""
        d, k = (self._movies["retrieval"].shape[1], self._takes["rate_lists"]["rating_vector"].shape[1])
        lists = n * (8 * 8 + 4 * (d + k))
        scores = 5 * topn.TILE if rank_by != "rating" or self._by_rating else 12 * len(self._movies[c.MOVIE_ID])
        return lists + scores, 64 + (4 * (2 * d + 2 * k) if self.needs_history else 0)

    def rate_catalogue(
        self, user_ids: object, seen_movie_ids: Lists | None = None, seen_ratings: Lists | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """[B, M] predicted ratings (float32, stars) of the whole catalogue, ascending movie id, and known_user [B]."""
        users = _int64(user_ids, "user_ids")
        history = self._history(len(users), seen_movie_ids, seen_ratings)
        result = self._call("rate_catalogue", {c.USER_ID: users, **history})
        return result[c.PREDICTED_RATING], result["known_user"]

    def movie_embedding(self, movie_ids: object) -> np.ndarray:
        """[B, d] float32; a row of NaN for a movie outside the catalogue."""
        return self._call("movie_embedding", {c.MOVIE_ID: _int64(movie_ids, "movie_ids")})["embedding"]

    def user_embedding(
        self, user_ids: object, seen_movie_ids: Lists | None = None, seen_ratings: Lists | None = None
    ) -> np.ndarray:
        """[B, d] float32; a row of NaN for an unknown user."""
        users = _int64(user_ids, "user_ids")
        history = self._history(len(users), seen_movie_ids, seen_ratings)
        return self._call("user_embedding", {c.USER_ID: users, **history})["embedding"]

    @cached_property
    def _movies(self) -> dict[str, np.ndarray]:
        return self._call("movie_vectors", {})

    @cached_property
    def _by_retrieval(self) -> topn.Vectors:
        return topn.Vectors(self._movies["retrieval"], allowed=self._allowed)

    @cached_property
    def _by_rating(self) -> topn.Vectors | None:
        """None where a rating is more than a product: then it takes the whole catalogue's ratings."""
        if "rating" not in self._movies:
            return None
        return topn.Vectors(self._movies["rating"], self._movies["rating_offset"], self._allowed)

    def _search(
        self, user_ids: np.ndarray, users: dict[str, np.ndarray], rank_by: str, candidates: int
    ) -> rules.Search:
        """What finds the best movies for some of these users; scored and in order as the policy has it."""
        rated = self._rated_allowed(user_ids) if rank_by == "rating" and self._by_rating is None else None

        def best(which: np.ndarray, n: int, hidden: topn.Pairs, closed: topn.Closed | None) -> topn.Top:
            if rated is not None:
                # What is hidden or closed now is so in later rounds too: it may be overwritten in place.
                top = topn.of_scores(rated if len(which) == len(rated) else rated[which], n, hidden, closed)
            elif rank_by == "rating" and self._by_rating is not None:
                top = self._by_rating.top(users["rating"][which], n, hidden, closed)
            else:
                depth = n if rank_by == "retrieval" else max(n, candidates)
                top = self._by_retrieval.top(users["retrieval"][which], depth, hidden, closed)
            if rank_by == "retrieval":
                return top
            # the order of what is told, to the last bit
            return topn.ranked(top.row, self._rate_lists(users["rating"][which], top.row), top.row.shape[1])

        return best

    def _rated_allowed(self, user_ids: np.ndarray) -> np.ndarray:
        """[B, M] ratings, at -inf where a movie may not be recommended."""
        ratings, _ = self.rate_catalogue(user_ids)
        if self._allowed is not None:
            ratings[:, ~self._allowed] = -np.inf
        return ratings

    def _because(self, row: np.ndarray, history: topn.Pairs, weight: np.ndarray, *, not_itself: bool) -> np.ndarray:
        """[B, n] rows of the catalogue; see `reasons`. What has no weight, or one against it, is no reason."""
        some = weight > 0
        liked = topn.Pairs(history.user[some], history.row[some])
        movies, said = self._movies["retrieval"], self._movies["seen"]
        return reasons.strongest(row, movies, said, liked, weight[some], not_itself=not_itself)

    def _rate_lists(self, vectors: np.ndarray, row: np.ndarray) -> np.ndarray:
        inputs = {"rating_vector": vectors, "row": np.maximum(row, 0).astype(np.int32)}
        return self._call("rate_lists", inputs)[c.PREDICTED_RATING]

    def _history(self, users: int, seen_movie_ids: Lists | None, seen_ratings: Lists | None) -> dict[str, np.ndarray]:
        return _flat_lists(seen_movie_ids, seen_ratings, users) if self.needs_history else {}

    def _call(self, signature: str, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The signature's answer to those of the inputs that it takes."""
        taken = {name: self._tf.constant(inputs[name]) for name in self._takes[signature]}
        return {name: value.numpy() for name, value in self._loaded.signatures[signature](**taken).items()}


def pack(directory: Path) -> bytes:
    """A SavedModel as one archive, to be broadcast."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(directory.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(directory))
    return buffer.getvalue()


def unpack(packed: bytes, allowed: np.ndarray | None = None) -> Recommender:
    """The model that `pack` packed; see `Recommender`. Its files are gone again when this returns."""
    with tempfile.TemporaryDirectory(prefix="recmodel-") as scratch:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            archive.extractall(scratch)  # never outside: zipfile drops absolute paths and ".."
        return Recommender(scratch, allowed)


def _int64(ids: object, name: str) -> np.ndarray:
    array = np.atleast_1d(np.asarray(ids))
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"{name} must be integers, not {array.dtype}; look titles up in the catalogue first")
    return array.astype(np.int64)


def _flat_lists(movie_ids: Lists | None, ratings: Lists | None, users: int) -> dict[str, np.ndarray]:
    if movie_ids is None or ratings is None:
        raise ValueError("this model knows users by their history; give seen_movie_ids and seen_ratings")
    lengths = [len(ids) for ids in movie_ids]
    if len(lengths) != users or lengths != [len(values) for values in ratings]:
        raise ValueError("each user needs one list of seen movies and one of as many ratings")
    return {
        "seen_movie_id": _int64(np.concatenate([np.empty(0, np.int64), *movie_ids]), "seen_movie_ids"),
        "seen_rating": np.concatenate([np.empty(0, np.float32), *ratings]).astype(np.float32),
        "seen_row_splits": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
    }
