"""Ranking policies: which movies are best for a user, and in what order. Each policy is described by its class alone.

To add a policy, write a class here and put an instance into `_POLICIES`: the settings, the command line, the workers
and the exported signature `recommend` take it from there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import numpy as np

from recmodel.scoring import topn

if TYPE_CHECKING:
    from recmodel.tf import tf

AUTO = "auto"  # in the settings: see `automatic`
BLEND_POWER = 2.0  # see `blended`; of models that do not say


class Model(Protocol):
    """What a policy may ask of a loaded model; see `recommender.Recommender`."""

    @property
    def retrieval_search(self) -> topn.Vectors:
        """The search by retrieval score."""

    @property
    def rating_search(self) -> topn.Vectors | None:
        """The search by predicted rating; None where ratings are no products and must be computed for all movies."""

    @property
    def catalogue_size(self) -> int:
        """M, the number of movies that the model knows."""

    @property
    def highest_rating(self) -> float:
        """No predicted rating is above it; 1e9 for models of earlier versions, which do not say."""

    @property
    def blend_power(self) -> float:
        """See `blended`."""

    def rate_allowed(self, user_ids: np.ndarray) -> np.ndarray:
        """[B, M] float32 predicted ratings, -inf where a movie must not be recommended."""

    def rate_lists(self, rating_vectors: np.ndarray, row: np.ndarray) -> np.ndarray:
        """[B, n] float32 predicted ratings of a list of movies for each user; any number where the row is -1."""


class Users(NamedTuple):
    """A block of B users, as the model's user tower describes them."""

    user_id: np.ndarray  # [B] int64
    retrieval: np.ndarray  # [B, d] float32
    rating: np.ndarray  # [B, k] float32
    boosts: topn.Boosts | None = None  # added to the retrieval scores; None: nothing


class Graph(NamedTuple):
    """What a policy's branch of the exported graph is made of: tensors for a block of B users and M movies."""

    retrieval_scores: Callable[[], tf.Tensor]  # [B, M] float32, hidden movies at -inf
    ratings: Callable[[], tf.Tensor]  # [B, M] float32 stars, hidden movies at -inf
    rate_lists: Callable[[tf.Tensor], tf.Tensor]  # [B, n] rows of the catalogue -> [B, n] float32 stars
    blend_power: float  # see `blended`
    n: tf.Tensor  # how many movies to return per user, at most M
    candidates: tf.Tensor  # at most M


class Policy(ABC):
    """A ranking policy."""

    name: str
    help: str  # completes "name: …" in the help of --rank-by
    tasks: tuple[str, ...]  # that a model must be trained for
    order: Literal["retrieval", "rating", "blend"]  # the scores that lists are in the order of

    @abstractmethod
    def search(self, model: Model, users: Users, candidates: int) -> topn.Search:
        """Return what finds the best movies of any of these users, in the order of the policy."""

    @abstractmethod
    def graph(self, of: Graph) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the scores and rows ([B, n] each) of the best movies, best first; -inf where fewer are left."""

    def list_length(self, n: int, candidates: int) -> int:
        """Return how many movies per user are in memory at once."""
        del candidates
        return n

    def is_prefix(self, n: int, more: int, candidates: int, *, capped: bool) -> bool:
        """Return whether the best n + `more` movies begin with the best n, within a cap or without one."""
        del n, more, candidates, capped
        return True

    def score_bytes(self, model: Model) -> int:
        """Return the memory that scores take per user, in bytes."""
        del model
        return 5 * topn.TILE  # float32, and one byte for the comparison with the threshold


class _Retrieval(Policy):
    name = "retrieval"
    help = "what they will watch"
    tasks = ("retrieval",)
    order = "retrieval"

    def search(self, model: Model, users: Users, candidates: int) -> topn.Search:
        del candidates
        return _by_retrieval(model, users)

    def graph(self, of: Graph) -> tuple[tf.Tensor, tf.Tensor]:
        return _top_k(of.retrieval_scores(), of.n)


class _Rating(Policy):
    name = "rating"
    help = "what they will like"
    tasks = ("rating",)
    order = "rating"

    def search(self, model: Model, users: Users, candidates: int) -> topn.Search:
        del candidates
        vectors = model.rating_search
        if vectors is not None:
            return _in_order_of_ratings(
                lambda which, n, hidden, excluded: vectors.top(users.rating[which], n, hidden, excluded), model, users
            )
        ratings = model.rate_allowed(users.user_id)

        def best(which: np.ndarray, n: int, hidden: topn.Pairs, excluded: topn.ExcludedGroups | None) -> topn.Top:
            # What is hidden or excluded now stays so in later rounds, so it may be overwritten in place.
            some = ratings if len(which) == len(ratings) else ratings[which]
            return topn.of_scores(some, n, hidden, excluded)

        return _in_order_of_ratings(best, model, users)

    def graph(self, of: Graph) -> tuple[tf.Tensor, tf.Tensor]:
        return _top_k(of.ratings(), of.n)

    def score_bytes(self, model: Model) -> int:
        return 12 * model.catalogue_size if model.rating_search is None else super().score_bytes(model)


class _TwoStage(Policy):
    name = "two-stage"
    help = "of what they will watch, the best rated"
    tasks = ("retrieval", "rating")
    order = "rating"

    def search(self, model: Model, users: Users, candidates: int) -> topn.Search:
        retrieve = _by_retrieval(model, users)
        return _in_order_of_ratings(
            lambda which, n, hidden, excluded: retrieve(which, self.list_length(n, candidates), hidden, excluded),
            model,
            users,
        )

    def graph(self, of: Graph) -> tuple[tf.Tensor, tf.Tensor]:
        from recmodel.tf import tf

        scores, movie = _top_k(of.retrieval_scores(), tf.maximum(of.candidates, of.n))
        hidden = tf.where(tf.math.is_inf(scores), -np.inf, 0.0)
        by_id = tf.argsort(movie)  # so that equal ratings keep the order of ids
        movie, hidden = (tf.gather(values, by_id, batch_dims=1) for values in (movie, hidden))
        ratings, place = _top_k(of.rate_lists(movie) + hidden, of.n)
        return ratings, tf.gather(movie, place, batch_dims=1)

    def list_length(self, n: int, candidates: int) -> int:
        return max(n, candidates)

    def is_prefix(self, n: int, more: int, candidates: int, *, capped: bool) -> bool:
        """More than the candidates, or those that a cap makes it retrieve later, may be rated higher than the first."""
        return more == 0 or (n + more <= candidates and not capped)


class _Blend(Policy):
    """Order by retrieval score × predicted rating, to a power that the model knows: what they will watch and like.

    Of movies that nobody would watch, the best rated ones are no recommendation; of those that somebody will watch, the
    disliked ones are not. Movies with a score of 0 or less come last, by that score. The power is a field of the preset
    and was chosen on validation data; see tests/benchmarks/README.md.
    """

    name = "blend"
    help = "what they will watch and like (retrieval score × predicted rating)"
    tasks = ("retrieval", "rating")
    order = "blend"

    def search(self, model: Model, users: Users, candidates: int) -> topn.Search:
        del candidates
        power = model.blend_power
        factor = float(blended(np.ones(1), np.array([model.highest_rating]), power)[0])

        def best(which: np.ndarray, n: int, hidden: topn.Pairs, excluded: topn.ExcludedGroups | None) -> topn.Top:
            def by(user: np.ndarray, row: np.ndarray, score: np.ndarray) -> np.ndarray:
                return blended(score, model.rate_lists(users.rating[which[user]], row[:, np.newaxis])[:, 0], power)

            return _by_retrieval(model, users, topn.Reordering(by, factor))(which, n, hidden, excluded)

        return best

    def graph(self, of: Graph) -> tuple[tf.Tensor, tf.Tensor]:
        from recmodel.tf import tf

        scores, ratings = of.retrieval_scores(), tf.nn.relu(of.ratings())
        hidden = tf.math.is_inf(scores)
        return _top_k(tf.where(hidden, -np.inf, tf.where(scores > 0, scores * ratings**of.blend_power, scores)), of.n)


_POLICIES = {policy.name: policy for policy in (_Retrieval(), _Rating(), _TwoStage(), _Blend())}
_AUTOMATIC = ("blend", "retrieval", "rating")

NAMES = tuple(_POLICIES)
HELP = "; ".join(f"{policy.name}: {policy.help}" for policy in _POLICIES.values()) + "."


def named(name: str) -> Policy:
    """Return the policy of that name.

    Raises:
        ValueError: there is none; names those there are.
    """
    if name not in _POLICIES:
        raise ValueError(f"there is no ranking policy {name!r}; choose one of {', '.join(NAMES)}")
    return _POLICIES[name]


def automatic(tasks: Collection[str], *, says_highest_rating: bool = True) -> str:
    """Return the policy for a model that was trained for these tasks: one that uses all of them.

    Args:
        says_highest_rating: see `Model.highest_rating`; without it, `blend` would have to rate the whole catalogue.
    """
    names = _AUTOMATIC if says_highest_rating else [name for name in _AUTOMATIC if name != "blend"]
    return next((name for name in names if not missing_tasks(name, tasks)), NAMES[0])


def missing_tasks(name: str, tasks: Collection[str]) -> list[str]:
    """Return the tasks that the policy needs and a model trained for `tasks` lacks, in alphabetical order."""
    return sorted(set(named(name).tasks).difference(tasks))


def graph(rank_by: tf.Tensor, of: Graph) -> tuple[tf.Tensor, tf.Tensor]:
    """Build the choice among all policies into a graph; see `Policy.graph`.

    Args:
        rank_by: a scalar string. The graph fails with InvalidArgumentError if it names no policy.
    """
    from recmodel.tf import tf

    is_named = tf.equal(rank_by, tf.constant(NAMES))
    check = tf.debugging.Assert(tf.reduce_any(is_named), [f"rank_by must be one of {', '.join(NAMES)}, not", rank_by])
    with tf.control_dependencies([check]):
        number = tf.argmax(is_named, output_type=tf.int32)
    return tf.switch_case(number, [lambda policy=policy: policy.graph(of) for policy in _POLICIES.values()])


def _by_retrieval(model: Model, users: Users, reordering: topn.Reordering | None = None) -> topn.Search:
    def best(which: np.ndarray, n: int, hidden: topn.Pairs, excluded: topn.ExcludedGroups | None) -> topn.Top:
        boosts = users.boosts
        if boosts is not None and len(which) < len(users.user_id):
            boosts = boosts.of(which)
        return model.retrieval_search.top(users.retrieval[which], n, hidden, excluded, boosts, reordering)

    return best


def _in_order_of_ratings(search: topn.Search, model: Model, users: Users) -> topn.Search:
    """Sort what a search finds by the ratings that are published, which may differ from its scores in the last bit."""

    def best(which: np.ndarray, n: int, hidden: topn.Pairs, excluded: topn.ExcludedGroups | None) -> topn.Top:
        row = search(which, n, hidden, excluded).row
        return topn.ranked(row, model.rate_lists(users.rating[which], row), row.shape[1])

    return best


def blended(score: np.ndarray, rating: np.ndarray, power: float) -> np.ndarray:
    """Return by what `blend` orders movies: retrieval score × predicted rating to a power (float32, any shape)."""
    return np.where(score > 0, score * np.maximum(rating, 0) ** power, score)


def _top_k(scores: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return values and indices; of equal scores the lower index comes first."""
    from recmodel.tf import tf

    return tuple(tf.math.top_k(scores, k))
