"""Serving: a loaded SavedModel with NumPy in and out, and the exact top N of its vectors.

Needs TensorFlow and nothing of training: this is what runs in Spark's workers and behind `show` and `predict`.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_array

from recmodel import schemas as c
from recmodel.arrays import locate
from recmodel.data.histories import ages
from recmodel.scoring import policies, reasons, rules, topn
from recmodel.scoring.signatures import InTensorFlow, Signatures


@dataclass(frozen=True)
class TopN:
    """Recommendations for B users: row b holds `count[b]` movies, best first, then padding (-1 and NaN)."""

    row: np.ndarray  # [B, n] int64, of the catalogue
    movie_id: np.ndarray  # [B, n] int64; or texts (object), padded with None
    score: np.ndarray  # [B, n] float32, by which the list is ordered: of the ranking policy
    retrieval_score: np.ndarray  # [B, n] float32
    predicted_rating: np.ndarray  # [B, n] float32, stars
    because: np.ndarray  # [B, n] int64, row of the liked movie that contributes most to it; -1 where none does
    count: np.ndarray  # [B] int32
    known_user: np.ndarray  # [B] bool


@dataclass(frozen=True)
class PairScores:
    """Scores of B pairs; NaN where the user or the movie is unknown."""

    retrieval_score: np.ndarray  # [B] float32
    predicted_rating: np.ndarray  # [B] float32, stars
    known_user: np.ndarray  # [B] bool
    known_movie: np.ndarray  # [B] bool


Lists = Sequence[np.ndarray]  # one array per user


class Recommender:
    """A loaded model. Ids are integers of any type, and results have int64; or ids are texts, if the model has those.

    `seen_movie_ids` and `seen_ratings` hold one array per user: the movies they rated, each once, the oldest rating
    first, and their ratings in stars. A model that knows users by id needs them only for recommendations.

    Args:
        directory: of the SavedModel.
        allowed: [M] bool, the movies of the catalogue that may be recommended; None: all.
        signatures: those of the SavedModel; None: as TensorFlow computes them.
        another_day: whether lists and ratings are for another day than that of the newest ratings, as the job's are;
            False: for the same sitting, as the signatures `recommend` and `predict` take it. Some models make no
            difference.
    """

    def __init__(
        self,
        directory: str | Path,
        allowed: np.ndarray | None = None,
        signatures: Signatures | None = None,
        *,
        another_day: bool = True,
    ) -> None:
        self._call = signatures or InTensorFlow(Path(directory))
        self._allowed = allowed
        self._another_day = another_day

    @property
    def catalogue_ids(self) -> np.ndarray:
        """[M] the ids of the catalogue, ascending: int64, or texts (object)."""
        return self._movies[c.MOVIE_ID]

    def movie_rows(self, movie_ids: object) -> np.ndarray:
        """Return [N] int64, the rows of movies in the catalogue; -1 for movies that it lacks."""
        ids = self._ids(c.MOVIE_ID, movie_ids, "movie_ids")
        if self._call.ids_are_text[c.MOVIE_ID]:
            rows = pc.index_in(pa.array(ids, pa.string()), self._catalogue_texts)
            return rows.fill_null(-1).to_numpy().astype(np.int64)
        row, present = locate(self.catalogue_ids, ids)
        return np.where(present, row, -1)

    @property
    def needs_history(self) -> bool:
        """Whether the model knows users by what they have seen, and not by id."""
        return self._call.needs_history

    @property
    def needs_order(self) -> bool:
        """Whether it matters in which order users have seen movies."""
        return self._call.needs_order

    def predict(
        self,
        user_ids: object,
        movie_ids: object,
        seen_movie_ids: Lists | None = None,
        seen_ratings: Lists | None = None,
    ) -> PairScores:
        """Score the pairs (user_ids[i], movie_ids[i]); histories, if needed, come one per pair.

        Raises:
            TypeError: ids are not of the model's kind.
            ValueError: there are not as many users as movies, or the model needs histories and there are none.
        """
        users, movies = self._ids(c.USER_ID, user_ids, "user_ids"), self._ids(c.MOVIE_ID, movie_ids, "movie_ids")
        if users.shape != movies.shape:
            raise ValueError(f"{len(users)} user ids and {len(movies)} movie ids do not make pairs")
        vectors, boosts, _ = self._user_vectors(users, *self._known_history(len(users), seen_movie_ids, seen_ratings))
        row = self.movie_rows(movies)
        known = vectors["known_user"] & (row >= 0)
        score = self.retrieval_search.scores(vectors["retrieval"], row[:, np.newaxis])
        if boosts is not None:
            score += boosts.at(row[:, np.newaxis])
        rating = self.rate_lists(vectors["rating"], row[:, np.newaxis])
        nothing = np.float32(np.nan)
        return PairScores(
            retrieval_score=np.where(known, score[:, 0], nothing),
            predicted_rating=np.where(known, rating[:, 0], nothing),
            known_user=vectors["known_user"],
            known_movie=row >= 0,
        )

    def recommend(
        self,
        user_ids: object,
        seen_movie_ids: Lists | None = None,
        seen_ratings: Lists | None = None,
        *,
        denied: Lists | None = None,
        **options: Any,
    ) -> TopN:
        """Return the exact top n of the catalogue for each user: as the signature `recommend` does, but faster.

        Args:
            seen_movie_ids: of each user, the oldest first; not recommended again. None: nothing, which only a model
                that knows users by their ids can do with.
            seen_ratings: in stars, of these movies.
            denied: movie ids that must not be recommended to a user, whether seen or not.
            options: such as n=10, rank_by="retrieval" or include_seen=True, and the others of `recommend_rows`.

        Raises:
            TypeError: ids are not of the model's kind.
            ValueError: see `recommend_rows`; or the lists do not fit the users.
        """
        user_ids = self._ids(c.USER_ID, user_ids, "user_ids")
        history = self._known_history(len(user_ids), seen_movie_ids, seen_ratings)
        hidden = None
        if denied is not None:
            denied_row = self.movie_rows(_joined(denied))
            hidden = topn.paired(denied_row, denied_row >= 0, denied)
        return self.recommend_rows(user_ids, *history, denied=hidden, **options)

    def recommend_rows(
        self,
        user_ids: np.ndarray,
        seen: topn.Pairs,
        ratings: np.ndarray,
        age: np.ndarray | None = None,
        *,
        n: int = 10,
        reserve: int = 0,
        rank_by: str = "retrieval",
        candidates: int = 200,
        include_seen: bool = False,
        denied: topn.Pairs | None = None,
        cap: rules.Cap | None = None,
        liked_from: float | None = None,
        rated: bool = True,
    ) -> TopN:
        """Return the exact top n of the catalogue for B users, whose histories are given by rows of the catalogue.

        Args:
            seen: what they have seen, ascending by user.
            ratings: [S] float32, of the seen movies, in stars.
            age: [S] int32, how many newer ratings the user has; None: each user's oldest comes first, or `needs_order`
                is False.
            reserve: how many more movies follow the n, without reasons. The n are the same without them.
            rank_by: one of `policies.NAMES`.
            candidates: how many movies two-stage retrieves before it ranks them by rating.
            denied: what must not be recommended to a user, whether seen or not.
            cap: see `rules.lists`. With two-stage, the retrieved candidates are ranked and taken within it; where they
                do not fill a list, as many more are retrieved from what still fits.
            liked_from: in stars, see `reasons.liked`; None: no reasons.
            rated: False saves computing predicted ratings where the ranking does not need them; they are NaN then.

        Raises:
            ValueError: `rank_by` is unknown, or n or candidates are below 1.
        """
        policy = policies.named(rank_by)
        if n < 1 or candidates < 1:
            raise ValueError(f"cannot rank the top {n} from {candidates} candidates; both must be at least 1")
        if not len(user_ids):  # TensorFlow cannot map over nobody
            nothing = np.empty((0, n + reserve), np.float32)
            no_ids = nothing.astype(np.int64)
            return TopN(no_ids, no_ids, nothing, nothing, nothing, no_ids, np.empty(0, np.int32), np.empty(0, bool))
        users, boosts, boost = self._user_vectors(user_ids, seen, ratings, age)
        vectors = policies.Users(user_ids, users["retrieval"], users["rating"], boosts)
        hidden = topn.NO_PAIRS if include_seen else seen
        if denied is not None:
            hidden = hidden.and_also(denied)
        search = policy.search(self, vectors, candidates)
        if policy.is_prefix(n, reserve, candidates, capped=cap is not None):
            top = rules.lists(search, len(user_ids), n + reserve, hidden, cap)
        else:
            first = rules.lists(search, len(user_ids), n, hidden, cap)
            top = topn.side_by_side(first, rules.lists(search, len(user_ids), reserve, hidden, cap, first.row))
        row = np.where(users["known_user"][:, np.newaxis], top.row, -1)
        score = rating = top.score
        if policy.order != "retrieval":
            score = self.retrieval_search.scores(vectors.retrieval, row)
            if boosts is not None:
                score += boosts.at(row)
        if policy.order != "rating":
            rating = self.rate_lists(vectors.rating, row) if rated else np.full_like(score, np.nan)
        by = top.score
        if policy.order == "blend":  # the search's own scores depend, in their last bits, on how many it was for
            by = np.minimum.accumulate(policies.blended(score, rating, self.blend_power), axis=1)
        because = np.full_like(row, -1)
        if liked_from is not None and "seen" in self._movies:  # which models of the first versions lack
            liked = reasons.liked(seen, ratings, liked_from)
            weight = users["seen_weight"] if self.needs_history else np.ones(len(liked), np.float32)
            because[:, :n] = self._because(row[:, :n], seen, weight * liked, boost, not_itself=include_seen)
        none = row < 0
        return TopN(
            row=row,
            movie_id=np.where(
                none, np.array(None if self._call.ids_are_text[c.MOVIE_ID] else -1), self.catalogue_ids[row]
            ),
            score=np.where(none, np.float32(np.nan), by),
            retrieval_score=np.where(none, np.float32(np.nan), score),
            predicted_rating=np.where(none, np.float32(np.nan), rating),
            because=because,
            count=(~none).sum(axis=1, dtype=np.int32),
            known_user=users["known_user"],
        )

    def memory(self, n: int, rank_by: str, candidates: int) -> tuple[int, int]:
        """Return the peak memory of `recommend` in addition to the model's: bytes per user, bytes per rating seen."""
        policy = policies.named(rank_by)
        d, k = (self._movies["retrieval"].shape[1], self._call.rating_width)
        lists = min(policy.list_length(n, candidates), self.catalogue_size) * (16 * 8 + 4 * (d + k))
        if "successor_row" in self._movies:
            lists += 10 * self._movies["successor_row"].shape[1] * 64  # the boosted movies of ten seen ones
        return lists + policy.score_bytes(self), 64 + (4 * (2 * d + 2 * k) if self._call.gathers_vectors else 0)

    def rate_catalogue(
        self, user_ids: object, seen_movie_ids: Lists | None = None, seen_ratings: Lists | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return [B, M] predicted ratings (float32, stars) of all movies, ascending movie id, and known_user [B]."""
        users = self._ids(c.USER_ID, user_ids, "user_ids")
        history = self._known_history(len(users), seen_movie_ids, seen_ratings)
        if not self.needs_history:
            return self.rate_catalogue_rows(users, *history)
        vectors, _, _ = self._user_vectors(users, *history)  # the signature `rate_catalogue` takes no ages
        every_row = np.arange(self.catalogue_size)[np.newaxis]
        ratings = [self.rate_lists(of_user[np.newaxis], every_row) for of_user in vectors["rating"]]
        ratings = np.concatenate([np.empty((0, self.catalogue_size), np.float32), *ratings])
        ratings[~vectors["known_user"]] = np.nan
        return ratings, vectors["known_user"]

    def rate_rows(
        self, user_ids: np.ndarray, seen: topn.Pairs, ratings: np.ndarray, age: np.ndarray | None, pairs: topn.Pairs
    ) -> np.ndarray:
        """Return [S] float32, the predicted ratings of pairs of a user of a block and a row of the catalogue.

        NaN where the row is -1 or the user unknown. The histories of the users are given as in `recommend_rows`.
        """
        history = self._history_of_rows(len(user_ids), seen, ratings, age)
        users = self._call("user_vectors", {c.USER_ID: user_ids, **history})
        rating = self.rate_lists(users["rating"][pairs.user], pairs.row[:, np.newaxis])[:, 0]
        return np.where((pairs.row < 0) | ~users["known_user"][pairs.user], np.float32(np.nan), rating)

    def rate_catalogue_rows(
        self, user_ids: np.ndarray, seen: topn.Pairs, ratings: np.ndarray, age: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return what `rate_catalogue` does for users whose histories are given as in `recommend_rows`."""
        history = self._history_of_rows(len(user_ids), seen, ratings, age)
        if self._call.ids_are_text[c.MOVIE_ID]:
            history["seen_movie_id"] = self.catalogue_ids[seen.row]
        result = self._call("rate_catalogue", {c.USER_ID: user_ids, **history})
        return result[c.PREDICTED_RATING], result["known_user"]

    def movie_embedding(self, movie_ids: object) -> np.ndarray:
        """Return [B, d] float32 retrieval vectors of movies; a row of NaN for a movie outside the catalogue."""
        return self._call("movie_embedding", {c.MOVIE_ID: self._ids(c.MOVIE_ID, movie_ids, "movie_ids")})["embedding"]

    def user_embedding(
        self, user_ids: object, seen_movie_ids: Lists | None = None, seen_ratings: Lists | None = None
    ) -> np.ndarray:
        """Return [B, d] float32 retrieval vectors of users; a row of NaN for an unknown user."""
        users = self._ids(c.USER_ID, user_ids, "user_ids")
        history = self._history(len(users), seen_movie_ids, seen_ratings)
        return self._call("user_embedding", {c.USER_ID: users, **history})["embedding"]

    # -- what `policies.Model` asks for

    @property
    def catalogue_size(self) -> int:
        """M, the number of movies that the model knows."""
        return len(self._movies[c.MOVIE_ID])

    @cached_property
    def retrieval_search(self) -> topn.Vectors:
        """The search by retrieval score."""
        return topn.Vectors(self._movies["retrieval"], allowed=self._allowed, factor=self._trend)

    @cached_property
    def rating_search(self) -> topn.Vectors | None:
        """The search by predicted rating; None where ratings are no products and must be computed for all movies."""
        if "rating" not in self._movies:
            return None
        return topn.Vectors(self._movies["rating"], self._movies["rating_offset"], self._allowed)

    @property
    def highest_rating(self) -> float:
        """No predicted rating is above it; 1e9 for models of earlier versions, which do not say."""
        return float(self._movies["rating_range"][1]) if "rating_range" in self._movies else 1e9

    @property
    def blend_power(self) -> float:
        """See `policies.blended`."""
        return float(self._movies.get("blend_power", policies.BLEND_POWER))

    def rate_allowed(self, user_ids: np.ndarray) -> np.ndarray:
        """Return [B, M] predicted ratings of a model without `rating_search`, -inf where a movie is not allowed."""
        ratings, _ = self.rate_catalogue(user_ids)
        if self._allowed is not None:
            ratings[:, ~self._allowed] = -np.inf
        return ratings

    def rate_lists(self, rating_vectors: np.ndarray, row: np.ndarray) -> np.ndarray:
        """Return [B, n] predicted ratings of a list of movies for each user; any number where the row is -1."""
        inputs = {"rating_vector": rating_vectors, "row": np.maximum(row, 0).astype(np.int32)}
        return self._call("rate_lists", inputs)[c.PREDICTED_RATING]

    # -- internals

    @cached_property
    def _movies(self) -> dict[str, np.ndarray]:
        movies = self._call("movie_vectors", {})
        if self._call.ids_are_text[c.MOVIE_ID]:
            movies[c.MOVIE_ID] = np.array([text.decode() for text in movies[c.MOVIE_ID]], object)
        return movies

    @cached_property
    def _catalogue_texts(self) -> pa.Array:
        return pa.array(self.catalogue_ids, pa.string())

    @property
    def _trend(self) -> np.ndarray | None:
        """[M] the factors of movies' retrieval scores; None: 1."""
        return self._movies.get("trend") if self._another_day else None

    @cached_property
    def _successors(self) -> csr_array:
        """[M, M] the strengths of successors, of a model that has some."""
        row, strength = (self._movies[name] for name in ("successor_row", "successor_strength"))
        if self._trend is not None:
            strength = strength * self._trend[row]
        ends = np.arange(0, row.size + 1, row.shape[1], dtype=np.int32)
        return csr_array((strength.ravel(), row.ravel(), ends), (len(row), len(row)))

    def _user_vectors(
        self, user_ids: np.ndarray, seen: topn.Pairs, ratings: np.ndarray, age: np.ndarray | None
    ) -> tuple[dict[str, np.ndarray], topn.Boosts | None, np.ndarray | None]:
        """Return what the signature `user_vectors` does, what is added to scores, and the factors [S] of that."""
        history = self._history_of_rows(len(user_ids), seen, ratings, age)
        users = self._call("user_vectors", {c.USER_ID: user_ids, **history})
        boost = users.get("seen_boost")
        if boost is None or not boost.any():
            return users, None, None
        return users, self._boosts(seen, boost, history["seen_row_splits"]), boost

    def _boosts(self, seen: topn.Pairs, boost: np.ndarray, splits: np.ndarray) -> topn.Boosts:
        """Return what the successors of seen movies add to retrieval scores.

        Args:
            boost: [S] of the seen movies, see `models.architectures.Users`.
            splits: [B + 1] where the seen movies of each user begin and end.
        """
        counts = boost > 0
        ends = np.append(0, np.cumsum(counts))[splits]
        of_users = csr_array((boost[counts], seen.row[counts], ends), (len(splits) - 1, self.catalogue_size))
        added = of_users @ self._successors
        return topn.Boosts(np.repeat(np.arange(len(splits) - 1), np.diff(added.indptr)), added.indices, added.data)

    def _because(
        self,
        row: np.ndarray,
        history: topn.Pairs,
        weight: np.ndarray,
        boost: np.ndarray | None,
        *,
        not_itself: bool,
    ) -> np.ndarray:
        """Return [B, n] rows of the catalogue; see `reasons`. A movie of weight 0 or below is no reason."""
        some = weight > 0
        liked = topn.Pairs(history.user[some], history.row[some])
        candidate_vectors, seen_vectors = self._movies["retrieval"], self._movies["seen"]
        successors = None
        if boost is not None:
            row_of, strength = (self._movies[name] for name in ("successor_row", "successor_strength"))
            successors = reasons.Successors(row_of, strength, boost[some])
        return reasons.strongest(
            row, candidate_vectors, seen_vectors, liked, weight[some], not_itself=not_itself, successors=successors
        )

    def _history(self, users: int, seen_movie_ids: Lists | None, seen_ratings: Lists | None) -> dict[str, np.ndarray]:
        if not self.needs_history:
            return {}
        movies, ratings, splits = _flat_lists(seen_movie_ids, seen_ratings, users)
        ids = self._ids(c.MOVIE_ID, movies, "seen_movie_ids")
        return {"seen_movie_id": ids, "seen_rating": ratings, "seen_row_splits": splits}

    def _known_history(
        self, users: int, seen_movie_ids: Lists | None, seen_ratings: Lists | None
    ) -> tuple[topn.Pairs, np.ndarray, np.ndarray]:
        """Return the pairs, ratings and ages of histories that the model knows, as `recommend_rows` takes them.

        Raises:
            ValueError: there are none, and the model needs them; or they do not fit the users.
        """
        if seen_movie_ids is None and not self.needs_history:
            seen_movie_ids = seen_ratings = [np.empty(0, np.int64)] * users
        movies, ratings, splits = _flat_lists(seen_movie_ids, seen_ratings, users)
        assert seen_movie_ids is not None  # or `_flat_lists` has refused it
        row = self.movie_rows(movies)
        return topn.paired(row, row >= 0, seen_movie_ids), ratings[row >= 0], ages(splits)[row >= 0]

    def _history_of_rows(
        self, users: int, seen: topn.Pairs, ratings: np.ndarray, age: np.ndarray | None
    ) -> dict[str, np.ndarray]:
        splits = np.searchsorted(seen.user, np.arange(users + 1))
        age = ages(splits) if age is None else age
        if self._another_day and "pause" in self._movies:
            age = age + np.int32(round(float(self._movies["pause"])))
        history = {"seen_row": seen.row, "seen_rating": ratings, "seen_row_splits": splits, "seen_age": age}
        if not self._call.ids_are_text[c.MOVIE_ID]:
            history["seen_movie_id"] = self.catalogue_ids[seen.row]
        return history

    def _ids(self, name: str, ids: object, argument: str) -> np.ndarray:
        return (_texts if self._call.ids_are_text[name] else _int64)(ids, argument)


def pack(directory: Path) -> bytes:
    """Pack the directory of a SavedModel into one archive, to be broadcast."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(directory.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(directory))
    return buffer.getvalue()


def unpack(packed: bytes, folder: Path) -> None:
    """Write the files of the SavedModel that `pack` packed to a folder."""
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        archive.extractall(folder)  # never outside: zipfile drops absolute paths and ".."


def _int64(ids: object, name: str) -> np.ndarray:
    array = np.atleast_1d(np.asarray(ids))
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise TypeError(
            f"{name} must be integers, not {array.dtype}, as the ids of this model are; look titles up in the "
            "catalogue first"
        )
    return array.astype(np.int64)


def _texts(ids: object, name: str) -> np.ndarray:
    array = np.atleast_1d(np.asarray(ids, object))
    if not all(isinstance(text, str) for text in array.flat):
        raise TypeError(f"{name} must be text, as the ids of this model are")
    return array


def _flat_lists(
    movie_ids: Lists | None, ratings: Lists | None, users: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the movie ids and the ratings (float32) of all users, one after the other, and the row splits (int64)."""
    if movie_ids is None or ratings is None:
        raise ValueError("this model knows users by their history; give seen_movie_ids and seen_ratings")
    lengths = [len(ids) for ids in movie_ids]
    if len(lengths) != users or lengths != [len(values) for values in ratings]:
        raise ValueError("each user needs one list of seen movies and one of as many ratings")
    splits = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return _joined(movie_ids), np.concatenate([np.empty(0, np.float32), *ratings]).astype(np.float32), splits


def _joined(lists: Lists) -> np.ndarray:
    """Return the ids of all lists, one list after the other."""
    return np.concatenate(lists) if any(map(len, lists)) else np.empty(0, np.int64)
