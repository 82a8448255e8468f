"""Models whose arithmetic is exact, and what they answer by definition, in float64 NumPy."""

import numpy as np


def exact_weights(users: int, movies: int, dim: int = 3, seed: int = 0):
    """Weights that are small multiples of 1/2, so that float32 computes them without rounding and ties are real."""
    from recmodel.models.embedding.weights import EmbeddingWeights

    random = np.random.RandomState(seed)

    def halves(*shape: int) -> np.ndarray:
        return (random.randint(-3, 4, size=shape) / 2).astype(np.float32)

    return EmbeddingWeights(
        user_ids=np.arange(1, users + 1, dtype=np.int64) * 3,
        user_vectors=halves(users, dim),
        movie_ids=np.sort(random.choice(10 * movies, size=movies, replace=False)).astype(np.int64) + 1,
        movie_vectors=halves(movies, dim),
        rating_layers=[(halves(2 * dim, 5), halves(5)), (halves(5, 4), halves(4)), (halves(4, 1), halves(1))],
        rating_range=(0.5, 5.0),
    )


def oracle_scores(weights, user_row: int) -> tuple[np.ndarray, np.ndarray]:
    """Retrieval scores and ratings of one user for the whole catalogue, as the definitions say, in float64."""
    user = weights.user_vectors[user_row].astype(np.float64)
    movies = weights.movie_vectors.astype(np.float64)
    hidden = np.concatenate([np.broadcast_to(user, movies.shape), movies], axis=1)
    for i, (kernel, bias) in enumerate(weights.rating_layers):
        hidden = hidden @ kernel + bias
        if i < len(weights.rating_layers) - 1:
            hidden = np.maximum(hidden, 0)
    return movies @ user, np.clip(hidden[:, 0], *weights.rating_range)


def oracle_top(weights, user_row, seen, n, rank_by, candidates) -> np.ndarray:
    """Ids by falling score, ties by ascending id, seen items left out: a stable argsort of the whole catalogue."""
    score, rating = oracle_scores(weights, user_row)
    allowed = np.flatnonzero(~np.isin(weights.movie_ids, seen))
    if rank_by == "two-stage":
        by_score = allowed[np.argsort(-score[allowed], kind="stable")][: max(candidates, n)]
        allowed = np.sort(by_score)
    blend = np.where(score > 0, score * rating ** getattr(weights, "blend_power", 2), score)
    key = {"retrieval": score, "blend": blend}.get(rank_by, rating)
    return weights.movie_ids[allowed[np.argsort(-key[allowed], kind="stable")][:n]]


def history_terms(weights, seen: np.ndarray, ratings: np.ndarray, age: np.ndarray | None = None) -> np.ndarray:
    """What each seen movie adds to the retrieval scores, and what stands in for a short history: [S + 1, M], float64.

    For another day, if the weights make a difference.

    Args:
        age: [S] how many newer ratings the user has; None: the oldest comes first.
    """
    row, ratings = np.searchsorted(weights.movie_ids, seen), ratings.astype(np.float64)
    age = _asked_at(weights, np.arange(len(row))[::-1] if age is None else age)
    own_mean = weights.mean_rating + (ratings - weights.mean_rating).sum() / (len(ratings) + 5)
    floor, newer = weights.recency
    weight = (1 + weights.liking * (ratings - own_mean)) * (floor + (1 - floor) * np.exp(-age / newer))
    vectors = np.vstack(
        [weight[:, np.newaxis] * weights.seen_vectors[row], weights.prior_weight * weights.average_seen]
    )
    terms = vectors @ weights.movie_vectors.T.astype(np.float64) / np.sqrt(len(row) + weights.prior_weight)
    if weights.successors is not None and len(row):
        for term, *successors in zip(terms, *boosts(weights, row, age, terms.sum(axis=0)), strict=False):
            np.add.at(term, *successors)
    return terms if weights.another_day is None else terms * weights.another_day.trend


def _asked_at(weights, age: np.ndarray) -> np.ndarray:
    return age if weights.another_day is None else age + weights.another_day.pause


def boosts(weights, row: np.ndarray, age: np.ndarray, products: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the successors of each seen movie, and what is added to their scores: [S, K] rows and float64.

    Args:
        products: [M] the scores without them.
    """
    factor = np.where(age < 10, np.exp(-age / 3), 0)
    factor *= weights.successors.weight * np.linalg.norm(products) / max(np.linalg.norm(factor), 1e-9)
    return weights.successors.row[row], factor[:, np.newaxis] * weights.successors.strength[row]


def history_scores(
    weights, seen: np.ndarray, ratings: np.ndarray, age: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The history model by its definition, in float64 NumPy: ([M] retrieval scores, [M] ratings)."""
    row = np.searchsorted(weights.movie_ids, seen)
    ratings = ratings.astype(np.float64)
    traits = weights.traits.astype(np.float64)
    newer = _asked_at(weights, np.arange(len(row))[::-1] if age is None else age)
    floor, ratings_to_fall = weights.rating_recency
    weight = floor + (1 - floor) * np.exp(-newer / ratings_to_fall)
    residual = weight * (ratings - weights.movie_bias[row])
    squares = traits[row].T @ (weight[:, np.newaxis] * traits[row])
    taste = np.linalg.solve(squares + np.diag(weights.ridge), traits[row].T @ residual)
    if weights.mood is not None:
        newness = np.where(newer < 20, np.exp(-newer / weights.mood.ratings), 0)
        left = ratings - weights.movie_bias[row] - traits[row] @ taste
        taste[0] += newness @ left / (newness.sum() + weights.mood.damping)
    intercept, slope = weights.calibration
    raw = intercept + slope * (weights.movie_bias + traits @ taste)
    low, high = weights.rating_range
    bend = (high - low) / 20
    bent = np.where(raw > high - bend, high - bend * np.exp(-(raw - high + bend) / bend), raw)
    bent = np.where(raw < low + bend, low + bend * np.exp((raw - low - bend) / bend), bent)
    return history_terms(weights, seen, ratings, age).sum(axis=0), bent
