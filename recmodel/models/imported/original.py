"""Originals: SavedModels that were saved elsewhere, and what they can be asked.

Understood are two towers, an index of TensorFlow Recommenders, and a function of pairs; see `open_original`. Nothing of
Keras or TensorFlow Recommenders is needed to load them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recmodel.errors import ModelRejected
from recmodel.tf import tf

TWO_TOWERS, INDEX, PAIRS = "two towers", "a BruteForce index", "a function of pairs"

_TOWERS = ("user_model", "movie_model")
_FITS = (
    "what can be imported: a folder with user_model/ and movie_model/, a BruteForce index with its query model, or a "
    "model of pairs, whose signature takes one id of a user and one id or title of a movie"
)
_AT_ONCE = 4096  # keys that the original is asked about
_PROBES = 16  # keys that no model knows
_UNKNOWN = 4  # the most vectors that a lookup has for all unknown keys; more: it hashes keys, and knows all of them
_FEW = 4  # of each lookup table that users and movies are described by, where there are no vectors
_EQUAL = 1e-6  # next to the largest number, as products depend in their last bits on how many rows there are

Describe = Callable[[np.ndarray], np.ndarray]  # [N] keys -> [N, D] float32


@dataclass(frozen=True)
class Original:
    """A model that somebody else saved. Its keys are what it calls users and movies: integers or texts."""

    form: str  # TWO_TOWERS, INDEX or PAIRS
    saved: list[Any]  # what was loaded, which keeps the variables and tables of the functions below
    user_dtype: tf.DType  # of keys
    movie_dtype: tf.DType
    describe_users: Describe  # numbers that differ between users: their vectors, or else ratings of some movies
    describe_movies: Describe
    score: Callable[[np.ndarray, np.ndarray], np.ndarray] | None  # of pairs: their retrieval scores [B]; None: without
    rate: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None = None  # keys [B] of users and of movies -> [B] float32
    movie_keys: np.ndarray | None = None  # [N], of an index, which knows no other
    best: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]] | None = None  # users -> scores and movies [B, k]

    @property
    def has_vectors(self) -> bool:
        """Whether what describes users and movies are vectors, whose products are retrieval scores."""
        return self.score is not None

    def known_users(self, keys: np.ndarray) -> np.ndarray:
        """Return [N] bool: which users the model tells from users that it does not know."""
        return _known(self.describe_users, keys, self.user_dtype)

    def known_movies(self, keys: np.ndarray) -> np.ndarray:
        """Return [N] bool: which movies the model tells from movies that it does not know."""
        if self.movie_keys is not None:
            return np.isin(keys, self.movie_keys)
        return _known(self.describe_movies, keys, self.movie_dtype)

    def vocabulary(self) -> np.ndarray:
        """Return the keys of users and of movies, as the lookups in the SavedModel have them, of the type of users."""
        keys = _vocabularies(self.saved, self.user_dtype)
        return np.unique(np.concatenate(keys)) if keys else np.empty(0, object)


def open_original(folder: Path) -> Original:
    """Load a SavedModel that was saved elsewhere, and find out what it can be asked.

    - A folder with the SavedModels `user_model/` and `movie_model/`: two towers, each of one input.
    - An index of `tfrs.layers.factorized_top_k.BruteForce` with its query model.
    - A model without signatures, as one without `call` is saved, with the attributes `user_model` and `movie_model`.
    - A signature of two inputs, of which one is called after the user. Its answers are a rating, or a vector of the
      user and one of the movie, or both.

    Raises:
        ModelRejected: it is none of these; names what was seen and what fits.
    """
    if all((folder / name / "saved_model.pb").is_file() for name in _TOWERS):
        return _two_towers(*(_load(folder / name) for name in _TOWERS))
    if folder.is_file():
        raise ModelRejected(f"{folder} is a file; save the model as a folder, with tf.saved_model.save(model, DIR)")
    if (folder / "checkpoint").is_file():
        raise ModelRejected(
            f"{folder} holds weights, which are no model; where the model is defined, load them by "
            "model.load_weights, then save it as a folder, with tf.saved_model.save(model, DIR)"
        )
    if not (folder / "saved_model.pb").is_file():
        inside = ", ".join(sorted(path.name for path in folder.iterdir())[:5]) if folder.is_dir() else "not a folder"
        raise ModelRejected(f"{folder} holds no SavedModel ({inside or 'it is empty'}); {_FITS}")
    loaded = _load(folder)
    if not len(loaded.signatures) and (towers := _towers_inside(loaded)):
        return towers
    function = _serving(loaded, folder)
    if hasattr(loaded, "_candidates") and hasattr(loaded, "_identifiers"):
        return _index(loaded, function, folder)
    return _pairs(loaded, function, folder)


@contextmanager
def failures_named(folder: Path) -> Iterator[None]:
    """Turn what fails in the graph of an original into a sentence.

    Raises:
        ModelRejected: see above.
    """
    try:
        yield
    except tf.errors.OpError as error:
        reason = " ".join(str(error.message).split())[:200]
        raise ModelRejected(
            f"the model in {folder} fails for some ids ({reason}); if it refuses ids that it does not know, name its "
            "users by --users, and save it with a vector for unknown ids (num_oov_indices=1)"
        ) from error


def _load(folder: Path) -> Any:
    try:
        return tf.saved_model.load(str(folder))
    except (OSError, ValueError, tf.errors.OpError, AttributeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelRejected(f"{folder} cannot be loaded by TensorFlow {tf.__version__} ({reason})") from None


def _serving(loaded: Any, folder: Path) -> Any:
    """Return the signature that a SavedModel serves by."""
    names = sorted(loaded.signatures)
    name = "serving_default" if "serving_default" in names else names[0] if len(names) == 1 else None
    if name is None:
        raise ModelRejected(
            f"{folder} has the signatures {', '.join(names) or 'none'}, and no serving_default; {_FITS}"
        )
    return loaded.signatures[name]


def _two_towers(user: Any, movie: Any) -> Original:
    towers = []
    for loaded, name in zip((user, movie), _TOWERS, strict=True):
        function = _serving(loaded, Path(name))
        inputs, outputs = _inputs(function), function.structured_outputs
        if len(inputs) != 1 or len(outputs) != 1 or not _is_key(next(iter(inputs.values()))):
            raise ModelRejected(f"{name} has {_in_words(function)}; a tower takes keys and returns vectors")
        (given, spec), (returned, _) = next(iter(inputs.items())), next(iter(outputs.items()))
        towers.append((_Call(function, {given: spec}), given, returned, spec.dtype))
    (of_user, user_in, user_out, user_dtype), (of_movie, movie_in, movie_out, movie_dtype) = towers
    users = _in_parts(lambda keys: of_user({user_in: keys})[user_out])
    movies = _in_parts(lambda keys: of_movie({movie_in: keys})[movie_out])
    return Original(TWO_TOWERS, [user, movie], user_dtype, movie_dtype, users, movies, _products(users, movies))


def _towers_inside(loaded: Any) -> Original | None:
    """Return the two towers that a model has as attributes; None if it has not both."""
    user_model: Any
    movie_model: Any
    user_model, movie_model = (getattr(loaded, name, None) for name in _TOWERS)
    user_key, movie_key = _key_of(user_model), _key_of(movie_model)
    if user_key is None or movie_key is None:
        return None
    users = _in_parts(lambda keys: user_model(_shaped(keys, user_key)))
    movies = _in_parts(lambda keys: movie_model(_shaped(keys, movie_key)))
    return Original(TWO_TOWERS, [loaded], user_key.dtype, movie_key.dtype, users, movies, _products(users, movies))


def _key_of(tower: Any) -> tf.TensorSpec | None:
    """Return what a restored tower takes, if that is a key and nothing else."""
    for function in getattr(getattr(tower, "__call__", None), "concrete_functions", ()):  # noqa: B004
        arguments = function.structured_input_signature[0]
        if arguments and isinstance(arguments[0], tf.TensorSpec) and _is_key(arguments[0]):
            return arguments[0]
    return None


def _index(loaded: Any, function: Any, folder: Path) -> Original:
    inputs = _inputs(function)
    (given, spec) = next(iter(inputs.items()))
    query = getattr(loaded, "query_model", None)
    if len(inputs) != 1 or not _is_key(spec) or not callable(query):
        raise ModelRejected(
            f"the index in {folder} has {_in_words(function)}; make it with BruteForce(user_model), whose user_model "
            "takes the id of a user and nothing else, and call it once before saving it"
        )
    keys, vectors = _texts(loaded._identifiers.numpy()), loaded._candidates.numpy()
    row = {key: i for i, key in enumerate(keys.tolist())}
    scores, movies = sorted(function.structured_outputs)
    call = _Call(function, {given: spec})

    def best(users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        answer = call({given: tf.constant(users, spec.dtype)})
        return answer[scores].numpy(), _texts(answer[movies].numpy())

    def of_movies(movies: np.ndarray) -> np.ndarray:
        found: np.ndarray = vectors[[row[key] for key in movies.tolist()]]
        return found

    of_users = _in_parts(lambda users: query(_shaped(users, spec)))
    return Original(
        INDEX,
        [loaded],
        spec.dtype,
        tf.as_dtype(loaded._identifiers.dtype),
        of_users,
        of_movies,
        _products(of_users, of_movies),
        movie_keys=keys,
        best=best,
    )


def _pairs(loaded: Any, function: Any, folder: Path) -> Original:
    inputs, outputs = _inputs(function), function.structured_outputs
    users = [name for name in inputs if "user" in name.lower()]
    widths = {name: 1 if len(spec.shape) < 2 else spec.shape[-1] for name, spec in sorted(outputs.items())}
    ratings = [name for name, width in widths.items() if width == 1]
    vectors = [name for name, width in widths.items() if width != 1]
    are_vectors = len(vectors) == 2 and widths[vectors[0]] == widths[vectors[1]]
    if (
        len(inputs) != 2
        or len(users) != 1
        or not all(map(_is_key, inputs.values()))
        or len(ratings) > 1
        or not (are_vectors or (ratings and not vectors))
    ):
        raise ModelRejected(
            f"{folder} has {_in_words(function)}; {_FITS}, and returns a rating, two vectors or all three"
        )
    (user,), (movie,) = users, [name for name in inputs if name not in users]
    call = _Call(function, inputs)
    probes = {
        name: _probes([loaded], spec.dtype) if ratings else _absent(spec.dtype)[:1] for name, spec in inputs.items()
    }

    def described(name: str, other: str, answers: list[str]) -> Describe:
        """Return what describes a user, or a movie: its vector, or else the ratings with some others."""

        def ask(keys: tf.Tensor) -> tf.Tensor:
            told = []
            for one in probes[other] if answers == ratings else probes[other][:1]:
                found = call({name: keys, other: tf.fill(tf.shape(keys), tf.constant(one, inputs[other].dtype))})
                told += [_flat(found[answer]) for answer in answers]
            return tf.concat(told, axis=1)

        return _in_parts(ask)

    def rate(user_keys: tf.Tensor, movie_keys: tf.Tensor) -> tf.Tensor:
        answer = call({user: user_keys, movie: movie_keys})[ratings[0]]
        return tf.cast(tf.reshape(answer, [-1]), tf.float32)

    of_user, of_movie = (vectors[:1], vectors[1:]) if are_vectors else (ratings, ratings)
    if are_vectors and "user" in vectors[1].lower():
        of_user, of_movie = of_movie, of_user

    def score(user_keys: np.ndarray, movie_keys: np.ndarray) -> np.ndarray:
        answer = call({user: tf.constant(user_keys), movie: tf.constant(movie_keys)})
        product: np.ndarray = tf.reduce_sum(_flat(answer[vectors[0]]) * _flat(answer[vectors[1]]), axis=1).numpy()
        return product

    return Original(
        PAIRS,
        [loaded],
        inputs[user].dtype,
        inputs[movie].dtype,
        described(user, movie, of_user),
        described(movie, user, of_movie),
        score if are_vectors else None,
        rate=rate if ratings else None,
    )


class _Call:
    """A signature, with keys in the shape that it takes."""

    def __init__(self, function: Any, inputs: Mapping[str, tf.TensorSpec]) -> None:
        self._function, self._inputs = function, inputs

    def __call__(self, keys: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        answer: dict[str, tf.Tensor] = self._function(
            **{name: _shaped(keys[name], spec) for name, spec in self._inputs.items()}
        )
        return answer


def _products(users: Describe, movies: Describe) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return what scores pairs by the products of their vectors."""
    return lambda user_keys, movie_keys: (users(user_keys) * movies(movie_keys)).sum(axis=1)


def _shaped(keys: tf.Tensor, spec: tf.TensorSpec) -> tf.Tensor:
    return keys[:, tf.newaxis] if spec.shape.rank == 2 else keys


def _flat(answer: tf.Tensor) -> tf.Tensor:
    """Return [N, D] of what was answered for N keys."""
    return tf.cast(tf.reshape(answer, [tf.shape(answer)[0], -1]), tf.float32)


def _in_parts(ask: Callable[[tf.Tensor], tf.Tensor]) -> Describe:
    """Return what asks about many keys, some at a time.

    Raises:
        tf.errors.InvalidArgumentError: the model refuses a key that it does not know.
    """

    def describe(keys: np.ndarray) -> np.ndarray:
        parts = [keys[start : start + _AT_ONCE] for start in range(0, len(keys), _AT_ONCE)]
        return np.concatenate([_flat(ask(tf.constant(part))).numpy() for part in parts])

    return describe


def _known(describe: Describe, keys: np.ndarray, dtype: tf.DType) -> np.ndarray:
    everything = np.ones(len(keys), bool)
    if not len(keys):
        return everything
    try:
        unknown = _distinct(describe(_absent(dtype)))
    except tf.errors.InvalidArgumentError:  # it refuses what it does not know
        return everything
    if len(unknown) > _UNKNOWN:
        return everything
    found = describe(keys)
    return ~np.any([_are_equal(found, row) for row in unknown], axis=0)


def _distinct(rows: np.ndarray) -> list[np.ndarray]:
    found: list[np.ndarray] = []
    for row in rows:
        if not found or not np.any([_are_equal(row[np.newaxis], other) for other in found]):
            found.append(row)
    return found


def _are_equal(rows: np.ndarray, row: np.ndarray) -> np.ndarray:
    return (np.abs(rows - row) <= _EQUAL * max(1.0, float(np.abs(row).max()))).all(axis=1)


def _absent(dtype: tf.DType) -> np.ndarray:
    """Return keys that no model knows."""
    if dtype == tf.string:
        return np.array([f"recmodel: not the id of anything {i}" for i in range(_PROBES)], object)
    return (tf.as_dtype(dtype).max - 7919 * np.arange(1, _PROBES + 1)).astype(dtype.as_numpy_dtype)


def _inputs(function: Any) -> dict[str, tf.TensorSpec]:
    inputs: dict[str, tf.TensorSpec] = function.structured_input_signature[1]
    return inputs


def _is_key(spec: tf.TensorSpec) -> bool:
    of_one_each = spec.shape.rank == 1 or (spec.shape.rank == 2 and spec.shape[1] == 1)
    return bool(of_one_each) and spec.dtype in (tf.string, tf.int32, tf.int64)


def _in_words(function: Any) -> str:
    """Return what a signature takes and returns, with types and shapes."""

    def listed(specs: Mapping[str, tf.TensorSpec]) -> str:
        return ", ".join(f"{name} {spec.dtype.name}{spec.shape}" for name, spec in sorted(specs.items())) or "nothing"

    return f"a signature that takes {listed(_inputs(function))} and returns {listed(function.structured_outputs)}"


def _vocabularies(saved: list[Any], dtype: tf.DType) -> list[np.ndarray]:
    """Return the keys of that type in each of the lookup tables of SavedModels."""
    tables = [
        found.resource_handle
        for one in saved
        for found in tf.train.TrackableView(one).descendants()
        if hasattr(found, "resource_handle") and not isinstance(found, tf.Variable)
    ]
    kind = tf.string if dtype == tf.string else tf.int64
    return [np.sort(_texts(found)) for table in tables if (found := _keys_of(table, kind)) is not None and len(found)]


def _probes(saved: list[Any], dtype: tf.DType) -> np.ndarray:
    """Return keys that something is described by: some of each lookup table, as it is not known which are of movies."""
    some = [keys[:: -(-len(keys) // _FEW)] for keys in _vocabularies(saved, dtype)]
    return np.concatenate([_absent(dtype)[:1], *some]).astype(dtype.as_numpy_dtype)


def _keys_of(table: tf.Tensor, dtype: tf.DType) -> np.ndarray | None:
    """Return the keys of a lookup table; None if it has keys of another type, or is no such table."""
    try:
        keys: np.ndarray = tf.raw_ops.LookupTableExportV2(table_handle=table, Tkeys=dtype, Tvalues=tf.int64)[0].numpy()
        return keys
    except (tf.errors.OpError, ValueError, TypeError):
        return None


def _texts(keys: np.ndarray) -> np.ndarray:
    """Return keys with texts as str, not bytes."""
    if keys.dtype != object:
        return keys
    return np.array([key.decode(errors="replace") for key in keys.ravel()], object).reshape(keys.shape)
