"""Top-N: the n best movies of the whole catalogue for a block of users, exactly and without those they have seen.

Takes vectors or scores as NumPy arrays and returns rows of the catalogue with their scores. Knows neither TensorFlow
nor Spark. A user's score for a movie is the dot product of their vectors, plus the movie's own offset if it has one.

For each block of users the catalogue is searched in tiles that fit the processor's cache. Each user has a threshold,
the n-th best score met so far; scores that reach it are collected, all others are dropped after one comparison. Movies
are visited in the order of what they can score at most, so thresholds are high early, and the search for a user ends
as soon as the longest vector still to come, times the user's own (Cauchy and Schwarz), does not reach the threshold.
Trained retrieval vectors are long for few movies and short for most, so most of the catalogue is never multiplied.
Of the rest, only the leading dimensions are at first: their product, and that of the lengths of what follows them, is a
bound. Where these dimensions hold most of a vector, few movies reach it: of generated ratings, as many as MovieLens 25M
has, one in seven hundred. Where many do, as of the few ratings of latest small (one in five), the search for a block
goes on without. Source of the order, of the early stop and of the bound: Teflioudi, Gemulla, Mykytiuk, "LEMP: Fast
Retrieval of Large Entries in a Matrix Product" (SIGMOD 2015).

The best by another order, such as scores times a bounded factor that is dear to compute, are found in the same search:
a score that does not reach the threshold even with the highest factor is dropped, and factors are computed for the
others alone.

Alternatives that were slower (`./submit.sh benchmark` measures the peers): A product and `tf.math.top_k` in the graph,
as in the signature `recommend`, spends most of its time in top_k. Taking the maxima of groups of movies and then only
the best groups, in the graph or here, needs a whole row of scores at once, which does not fit the cache. FAISS has no
masks and no early stop, and is no faster where an early stop is impossible. A compiled loop could fuse the comparison
with the collection of what reached the threshold, a tenth of the time: too little to earn a dependency.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from recmodel.arrays import locate

USERS = 512  # per block: each call of TensorFlow takes a millisecond, and more users do not fit the cache
TILE = 2048  # movies: 512 x 2048 scores are 4 MiB
LEADING = 32  # dimensions that bound a score, of vectors that have more than twice as many
_TOO_MANY = 0.01  # share of the pairs of a tile whose bounds reach the threshold, from which on bounds save nothing

_NOTHING = np.iinfo(np.int64).min  # below the key of every score
_LOWEST = np.finfo(np.float32).min  # above hidden pairs, which are at -inf


class Pairs(NamedTuple):
    """S pairs of a user of the block (0-based) and a row of the catalogue, in any order, possibly repeated."""

    user: np.ndarray  # [S] int
    row: np.ndarray  # [S] int

    def and_also(self, others: Pairs) -> Pairs:
        """Return both, one after the other."""
        return Pairs(np.concatenate([self.user, others.user]), np.concatenate([self.row, others.row]))


NO_PAIRS = Pairs(np.empty(0, np.int64), np.empty(0, np.int64))


class Boosts(NamedTuple):
    """What is added to the scores of S pairs of a user of the block and a row of the catalogue, no pair twice."""

    user: np.ndarray  # [S] int, ascending
    row: np.ndarray  # [S] int
    score: np.ndarray  # [S] float32, at least 0

    def of(self, users: np.ndarray) -> Boosts:
        """Select the pairs of these users (ascending), and replace each user by their place among them."""
        place, selected = locate(users, self.user)
        return Boosts(place[selected], self.row[selected], self.score[selected])

    def at(self, row: np.ndarray) -> np.ndarray:
        """Return [B, n] float32: what is added to the scores of the movies of users' lists; 0 where the row is -1."""
        place = places_in_lists(row, Pairs(self.user, self.row))
        added = np.zeros(row.shape, np.float32)
        found = np.flatnonzero(place >= 0)
        added[self.user[found], place[found]] = self.score[found]
        return added


class ExcludedGroups(NamedTuple):
    """Groups of movies that some users of the block must not get: a movie of any of them is hidden from those users."""

    groups: np.ndarray  # [M, G] float32: 1 where a movie is of a group, else 0
    user: np.ndarray  # [B, G] float32: 1 where a group is excluded for a user, else 0

    def hides(self, row: np.ndarray) -> np.ndarray:
        """Return [B, T] bool: which of the movies `row` [T] are hidden from each user."""
        return self.user @ self.groups[row].T > 0

    def hides_pairs(self, pairs: Pairs) -> np.ndarray:
        """Return [S] bool: which of the pairs are hidden."""
        return (self.user[pairs.user] * self.groups[pairs.row]).any(axis=1)

    def of(self, users: np.ndarray) -> ExcludedGroups:
        """Return the same for some users of the block."""
        return ExcludedGroups(self.groups, self.user[users])


def of_users(users: np.ndarray, pairs: Pairs) -> Pairs:
    """Select the pairs of these users (ascending), and replace each user by their place among them."""
    place, selected = locate(users, pairs.user)
    return Pairs(place[selected], pairs.row[selected])


class Reordering(NamedTuple):
    """Another order than that of the scores: of `by`, which is computed only for movies that may be among the best.

    by: (users of the block [S], rows [S], scores [S] float32) -> [S] float32: a score of 0 or less stays as it is, one
        above 0 becomes at most `factor` times as high, and not negative.
    """

    by: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
    factor: float


class Top(NamedTuple):
    """The lists of B users, best first, equal scores by ascending row; padded with -1 and NaN if they are shorter."""

    row: np.ndarray  # [B, n] int64
    score: np.ndarray  # [B, n] float32


# Finds the best movies of some users of a block, in the order of the ranking: (which users [b], how many at least,
# hidden pairs of a place in `which` and a row, the groups excluded for each of them) -> Top.
Search = Callable[[np.ndarray, int, Pairs, "ExcludedGroups | None"], Top]


def side_by_side(first: Top, second: Top) -> Top:
    """Return lists that go on with others; what pads the first ones comes last."""
    row, score = (np.concatenate(columns, axis=1) for columns in zip(first, second, strict=True))
    order = np.argsort(row < 0, axis=1, kind="stable")
    return Top(np.take_along_axis(row, order, 1), np.take_along_axis(score, order, 1))


def places_in_lists(row: np.ndarray, pairs: Pairs) -> np.ndarray:
    """Return [S] int32: where the movie of each pair is in the list of its user; -1 where it is not in it.

    Args:
        row: [B, n] lists, none of a movie twice; -1 where there is none.
        pairs: ascending by user.
    """
    movies = max(row.max(initial=0), pairs.row.max(initial=0)) + 1
    together = max(1, (1 << 20) // movies)  # users at a time, so that the table of all their movies fits the cache
    table = np.full(together * movies, -1, np.int32)
    place = np.empty(len(pairs.user), np.int32)
    ends = np.searchsorted(pairs.user, np.arange(0, len(row) + together, together))
    for start, first, end in zip(range(0, len(row), together), ends[:-1], ends[1:], strict=True):
        user, at = np.nonzero(row[start : start + together] >= 0)
        cells = user * movies + row[start + user, at]
        table[cells] = at
        place[first:end] = table[(pairs.user[first:end] - start) * movies + pairs.row[first:end]]
        table[cells] = -1
    return place


def paired(row: np.ndarray, in_catalogue: np.ndarray, lists: Sequence[np.ndarray]) -> Pairs:
    """Pair each user of the block with the rows of the movies in their list.

    Args:
        row: of the movies of all lists, one list after the other; any where the catalogue lacks the movie.
        in_catalogue: for each of these whether the catalogue has it.
    """
    user = np.repeat(np.arange(len(lists)), [len(ids) for ids in lists])
    return Pairs(user[in_catalogue], row[in_catalogue])


class Vectors:
    """The movies' side of the product, laid out for the search. M is the size of the catalogue.

    Args:
        vectors: [M, d] float32.
        offset: [M] float32, added to each movie's scores.
        allowed: [M] bool, the movies that are searched; None: all.
        factor: [M] float32, above 0, of each movie's products; None: 1.
    """

    def __init__(
        self,
        vectors: np.ndarray,
        offset: np.ndarray | None = None,
        allowed: np.ndarray | None = None,
        factor: np.ndarray | None = None,
    ) -> None:
        movies, d = vectors.shape
        if factor is not None:
            vectors = vectors * factor[:, np.newaxis]
        length = np.linalg.norm(vectors, axis=1)
        self._has_offset = offset is not None  # as one more dimension, in which every user is 1
        if offset is None:
            offset = np.zeros(movies, np.float32)
        else:
            vectors = np.column_stack([vectors, offset])
        # The score that one user in a hundred with a vector of length 1 exceeds. Any order is exact; this one is fast.
        order = np.argsort(-(offset + 2.3 / np.sqrt(d) * length), kind="stable")
        self._row = order if allowed is None else order[allowed[order]]
        self._place = np.full(movies, -1)  # of each movie, in that order
        self._place[self._row] = np.arange(len(self._row))
        self._vectors = vectors[self._row].astype(np.float32, copy=False)
        self._longest = _greatest_from_here_on(length[self._row])
        self._highest = _greatest_from_here_on(offset[self._row])
        self._leading = self._bounding(self._vectors, length[self._row], slack=1) if d > 2 * LEADING else None

    def top(
        self,
        users: np.ndarray,
        n: int,
        hidden: Pairs,
        excluded: ExcludedGroups | None = None,
        boosts: Boosts | None = None,
        reordering: Reordering | None = None,
    ) -> Top:
        """Return the n best movies for each user, without the hidden pairs and the excluded groups.

        Args:
            users: [B, d] float32, finite.
            boosts: added to the products; None: nothing. As none is negative, what ends the search for all other movies
                still holds, and the boosted movies it has not come to are scored one by one.
            reordering: what the best are the best by; None: the scores.
        """
        n = min(n, len(self._row))
        search = _Search(len(users), n, reordering)
        length = np.linalg.norm(users, axis=1)
        users = self._extended(users)
        hidden, ends = _by_tile(self._places(hidden), len(self._row))
        boosted, boost_ends, boost = self._boosted(boosts)
        is_added = np.zeros(len(boost), bool)
        leading = self._leading if boosts is None else None  # boosts are added to scores, not to bounds
        block = _Block(users, excluded, None if leading is None else self._bounding(users, length))

        def masked(scores: np.ndarray, tile: int, start: int) -> np.ndarray:
            raised, hidden_here = slice(*boost_ends[tile : tile + 2]), slice(*ends[tile : tile + 2])
            place, is_added[raised] = block.places(boosted.user[raised])
            scores[place, boosted.row[raised][is_added[raised]] - start] += boost[raised][is_added[raised]]
            place, present = block.places(hidden.user[hidden_here])
            scores[place, hidden.row[hidden_here][present] - start] = -np.inf
            if block.excluded is not None:
                scores[block.excluded.hides(self._row[start : start + TILE])] = -np.inf
            return scores

        for tile, start in enumerate(range(0, len(self._row), TILE)):
            block.keep(search.may_take(block.user, self._best_to_come(length[block.user], start)))
            if not len(block.user):
                break
            rows = self._row[start : start + TILE]
            if leading is not None and start > 0:  # before the first tile, there is no threshold
                bounds = masked(block.bounds(leading[start : start + TILE]), tile, start)
                place, column = np.divmod(search.reached(bounds, block.user), len(rows))
                if len(place) < _TOO_MANY * bounds.size:
                    user = block.user[place]
                    search.offer_pairs(user, self._products(users, Pairs(user, start + column)), rows[column])
                    continue
                leading = None
            search.offer(masked(block.scores(self._vectors[start : start + TILE]), tile, start), rows, block.user)
        if not is_added.all():
            left = Pairs(boosted.user[~is_added], boosted.row[~is_added])
            self._offer_pairs(search, users, length, left, boost[~is_added], hidden, excluded)
        return search.result()

    def _boosted(self, boosts: Boosts | None) -> tuple[Pairs, np.ndarray, np.ndarray]:
        """Return pairs of users and places by tile, where those of each tile begin and end, and their boosts."""
        tiles = -(-len(self._row) // TILE)
        if boosts is None:
            return NO_PAIRS, np.zeros(tiles + 1, int), np.empty(0, np.float32)
        place = self._place[boosts.row]
        searched = np.flatnonzero(place >= 0)
        tile = place[searched] // TILE
        order = searched[_stable_order(tile, tiles)]
        ends = np.append(0, np.cumsum(np.bincount(tile, minlength=tiles)))
        return Pairs(boosts.user[order], place[order]), ends, boosts.score[order]

    def _offer_pairs(
        self,
        search: _Search,
        users: np.ndarray,
        length: np.ndarray,
        pairs: Pairs,
        boost: np.ndarray,
        hidden: Pairs,
        excluded: ExcludedGroups | None,
    ) -> None:
        """Score boosted pairs (places in the order of the search) that may be among the best, and offer them."""
        bound = self._best_to_come(length[pairs.user], pairs.row) + boost
        some = np.flatnonzero(search.may_take(pairs.user, bound * (1 + 2 * np.finfo(np.float32).eps)))
        pairs, boost = Pairs(pairs.user[some], pairs.row[some]), boost[some]
        hidden_keys = np.sort(hidden.user * len(self._row) + hidden.row)
        shown = np.ones(len(boost), bool)
        if len(hidden_keys):
            shown = ~locate(hidden_keys, pairs.user * len(self._row) + pairs.row)[1]
        if excluded is not None:
            shown &= ~excluded.hides_pairs(Pairs(pairs.user, self._row[pairs.row]))
        pairs, boost = Pairs(pairs.user[shown], pairs.row[shown]), boost[shown]
        score = self._products(users, pairs) + boost
        search.offer_pairs(pairs.user, score, self._row[pairs.row])

    def scores(self, users: np.ndarray, row: np.ndarray) -> np.ndarray:
        """Return [B, n] the scores of a list of movies for each user; where the row is -1, that of any movie."""
        movies = self._vectors[self._place[row]]
        return np.matmul(movies, self._extended(users)[:, :, np.newaxis])[:, :, 0]

    def _products(self, users: np.ndarray, pairs: Pairs) -> np.ndarray:
        """Return [S] the scores of single pairs of a user and a place in the order of the search, without boosts."""
        return np.einsum("sd,sd->s", users[pairs.user], self._vectors[pairs.row])

    def _bounding(self, vectors: np.ndarray, length: np.ndarray, slack: float | None = None) -> np.ndarray:
        """Return [N, ...] what, multiplied with the same of the other side, bounds the products of vectors from above.

        It is the leading dimensions and the length of the others (Cauchy and Schwarz), the offset, and for the rounding
        of float32 the whole length.

        Args:
            vectors: [N, d] float32, and one more dimension if there are offsets.
            length: [N] float32, of the d dimensions.
            slack: factor of the whole length: 1 on one side; None: on the other, what rounding may take.
        """
        d = vectors.shape[1] - self._has_offset
        slack = 4 * d * float(np.finfo(np.float32).eps) if slack is None else slack
        rest = np.linalg.norm(vectors[:, LEADING:d], axis=1)
        return np.column_stack([vectors[:, :LEADING], rest, length * np.float32(slack), vectors[:, d:]])

    def _places(self, pairs: Pairs) -> Pairs:
        """Replace rows by places in the order of the search, and drop movies that are not searched."""
        place = self._place[pairs.row]
        if len(self._row) == len(self._place):
            return Pairs(pairs.user, place)
        return Pairs(pairs.user[place >= 0], place[place >= 0])

    def _extended(self, users: np.ndarray) -> np.ndarray:
        return np.column_stack([users, np.ones(len(users), np.float32)]) if self._has_offset else users

    def _best_to_come(self, length: np.ndarray, start: int | np.ndarray) -> np.ndarray:
        """Return [B] the highest product from that place on with a user of that length, with float32's rounding."""
        product, offset = length * self._longest[start], self._highest[start]
        return product + offset + 2 * self._vectors.shape[1] * np.finfo(np.float32).eps * (product + abs(offset))


class _Block:
    """The users who are still searched for.

    Args:
        vectors: [B, d] float32 of all users of the search.
        excluded: for each of them.
        bounding: [B, ...] see `Vectors._bounding`; None: `bounds` is not called.
    """

    def __init__(self, vectors: np.ndarray, excluded: ExcludedGroups | None, bounding: np.ndarray | None) -> None:
        self.user = np.arange(len(vectors))  # [b] of the B users
        self.excluded = excluded
        self._vectors, self._bounding = vectors, bounding
        self._place = self.user
        self._scores = np.empty(len(vectors) * TILE, np.float32)

    def keep(self, is_open: np.ndarray) -> None:
        """Leave out users [b] for whom nothing better can come, if these are enough to pay for the copy."""
        if is_open.sum() > 0.9 * len(is_open):
            return
        self.user, self._vectors = self.user[is_open], self._vectors[is_open]
        self._bounding = None if self._bounding is None else self._bounding[is_open]
        self.excluded = self.excluded and self.excluded.of(is_open)
        self._place = np.full(len(self._place), -1)
        self._place[self.user] = np.arange(len(self.user))

    def places(self, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where those of the users [S] are in the block who are in it, and which [S] they are."""
        place = self._place[users]
        return place[place >= 0], place >= 0

    def scores(self, movies: np.ndarray) -> np.ndarray:
        """Return [b, T] products with the vectors of movies [T, d], valid until the next call."""
        return self._product(self._vectors, movies)

    def bounds(self, movies: np.ndarray) -> np.ndarray:
        """Return [b, T] what no score of movies [T, ...], see `Vectors._bounding`, is above, valid until then too."""
        assert self._bounding is not None
        return self._product(self._bounding, movies)

    def _product(self, users: np.ndarray, movies: np.ndarray) -> np.ndarray:
        scores = self._scores[: len(self.user) * len(movies)].reshape(len(self.user), len(movies))
        return np.matmul(users, movies.T, out=scores)


def of_scores(scores: np.ndarray, n: int, hidden: Pairs, excluded: ExcludedGroups | None = None) -> Top:
    """Return the n best of each row of `scores` ([B, M] float32; overwritten where hidden), never NaN."""
    n = min(n, scores.shape[1])
    search = _Search(len(scores), n)
    scores[hidden.user, hidden.row] = -np.inf
    if excluded is not None:
        scores[excluded.hides(np.arange(scores.shape[1]))] = -np.inf
    for start in range(0, scores.shape[1], TILE):
        tile = np.ascontiguousarray(scores[:, start : start + TILE])
        search.offer(tile, np.arange(start, start + tile.shape[1]), np.arange(len(scores)))
    return search.result()


def ranked(row: np.ndarray, score: np.ndarray, n: int) -> Top:
    """Sort lists ([B, k] rows, -1 where there is none, and their scores) by falling score, and cut them to n."""
    keys = np.where(row < 0, _NOTHING, _keys(score, row))
    keys.sort(axis=1)
    return _lists(keys[:, ::-1][:, :n])


class _Search:
    """The best n of B users among the scores offered so far."""

    def __init__(self, users: int, n: int, reordering: Reordering | None = None) -> None:
        self._best: np.ndarray = np.full((users, n), _NOTHING)
        self._threshold: np.ndarray = np.full(users, _LOWEST)  # no lower score can be among the best
        self._reordering = reordering
        # Users, rows and scores that may be among the best.
        self._candidates: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._pending = 0
        self._empty = True

    def offer(self, scores: np.ndarray, rows: np.ndarray, users: np.ndarray) -> None:
        """Search the scores [b, T], contiguous, of users [b] and the movies `rows` [T]; overwrites some of them.

        The first call is for all users.
        """
        if self._empty:
            self._empty = False
            first = self._best.shape[1] * (1 if self._reordering is None else 3)
            self._threshold = np.maximum(_LOWEST, _bound_of_nth(scores, first))
            hit = self._collect(scores, rows, users)
            self._merge_pending()
            if self._reordering is None:
                return
            scores.reshape(-1)[hit] = -np.inf  # the others are compared with what is now known of the new order
        self._collect(scores, rows, users)

    def may_take(self, user: np.ndarray, score: np.ndarray) -> np.ndarray:
        """Return [S] bool: whether scores [S] of these users [S] may be among their best."""
        return score >= self._threshold[user]

    def reached(self, bounds: np.ndarray, users: np.ndarray) -> np.ndarray:
        """Return where in `bounds` [b, T], of users [b], those are that may be of scores among the best."""
        return np.flatnonzero(bounds >= self._threshold[users, np.newaxis])

    def offer_pairs(self, user: np.ndarray, score: np.ndarray, row: np.ndarray) -> None:
        """Search the scores [S] of single pairs, which have not been offered before."""
        self._candidates.append((user, row, score.astype(np.float32, copy=False)))
        self._pending += len(user)
        if self._pending > self._best.size:
            self._merge_pending()

    def result(self) -> Top:
        """Return the best of all scores offered."""
        self._merge_pending()
        return _lists(self._best[:, ::-1])

    def _collect(self, scores: np.ndarray, rows: np.ndarray, users: np.ndarray) -> np.ndarray:
        """Note the scores that reach the threshold, and return where they are in `scores`."""
        hit = self.reached(scores, users)
        place = hit // scores.shape[1]
        self.offer_pairs(users[place], scores.reshape(-1)[hit], rows[hit - place * scores.shape[1]])
        return hit

    def _merge_pending(self) -> None:
        """Keep the best n of the candidates so far, and raise the thresholds."""
        if not self._pending:
            return
        user, row, score = (np.concatenate(column) for column in zip(*self._candidates, strict=True))
        if self._reordering is not None:
            score = self._reordering.by(user, row, score)
        key = _keys(score, row)
        if self._reordering is not None:
            better = key > self._best[user, 0]
            user, key = user[better], key[better]
        users, n = self._best.shape
        order = _stable_order(user, users)
        user, key = user[order], key[order]
        count = np.bincount(user, minlength=users)
        both = np.full((users, n + count.max()), _NOTHING)
        both[:, :n] = self._best
        both[user, n + np.arange(len(user)) - (np.cumsum(count) - count)[user]] = key
        both.sort(axis=1)
        self._best = both[:, -n:]
        nth = np.where(self._best[:, 0] == _NOTHING, _LOWEST, _scores(self._best[:, 0]))
        self._threshold = nth if self._reordering is None else _below(nth, self._reordering.factor)
        self._candidates, self._pending = [], 0


def _below(nth: np.ndarray, factor: float) -> np.ndarray:
    """Return [B] the lowest scores that a reordering can raise to `nth`, with float32's rounding."""
    return np.where(nth > 0, np.maximum(nth, 0) / np.float32(factor * (1 + 8 * np.finfo(np.float32).eps)), nth)


def _bound_of_nth(scores: np.ndarray, n: int, groups_of: int = 4) -> np.ndarray:
    """Return [B] a lower bound of the n-th best score: the n-th best of maxima over groups, or the lowest float32."""
    groups = scores.shape[1] // groups_of
    if groups < n:
        return np.full(len(scores), _LOWEST)
    maxima = scores[:, : groups * groups_of].reshape(len(scores), groups_of, groups).max(axis=1)
    return np.partition(maxima, groups - n, axis=1)[:, groups - n]


def _by_tile(hidden: Pairs, movies: int) -> tuple[Pairs, np.ndarray]:
    """Sort the pairs by the tile that their row is in, and return where the pairs of each tile begin and end."""
    tile = hidden.row // TILE
    order = _stable_order(tile, -(-movies // TILE))
    ends = np.searchsorted(tile[order], np.arange(-(-movies // TILE) + 1))
    return Pairs(hidden.user[order], hidden.row[order]), ends


def _stable_order(values: np.ndarray, largest: int) -> np.ndarray:
    """Return the stable order of small integers: in the narrowest type, which NumPy sorts by radix."""
    return np.argsort(values.astype(np.min_scalar_type(largest)), kind="stable")


def _greatest_from_here_on(values: np.ndarray) -> np.ndarray:
    return np.maximum.accumulate(values[::-1])[::-1]


# One int64 for a score and its row: sorting these sorts by score, and among equals puts the smaller row above.


def _keys(scores: np.ndarray, rows: np.ndarray) -> np.ndarray:
    bits = (scores + np.float32(0)).view(np.int32).astype(np.int64)  # + 0: there is one zero, not two
    bits ^= (bits >> 31) & 0x7FFFFFFF  # the order of floats becomes that of integers
    return (bits << 32) | (0x7FFFFFFF - rows)


def _scores(keys: np.ndarray) -> np.ndarray:
    bits = (keys >> 32).astype(np.int32)
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).view(np.float32)


def _lists(keys: np.ndarray) -> Top:
    nothing = keys == _NOTHING
    row = np.where(nothing, -1, 0x7FFFFFFF - (keys & 0xFFFFFFFF))
    return Top(row, np.where(nothing, np.float32(np.nan), _scores(np.ascontiguousarray(keys))))
