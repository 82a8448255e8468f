"""The notebook's models, as it writes, trains and saves them: TensorFlow Recommenders, text keys, movies by title."""

import csv
from pathlib import Path

import numpy as np

from recmodel.tf import tf

import tensorflow_recommenders as tfrs  # isort: skip  (recmodel.tf must be imported before it)

_DIMENSION = 32


def read(folder: Path, without_user: str = "") -> dict[str, np.ndarray]:
    """The notebook's features userId, title and rating of a MovieLens directory."""
    with (folder / "movies.csv").open(encoding="utf-8", newline="") as file:
        titles = {row["movieId"]: row["title"] for row in csv.DictReader(file)}
    with (folder / "ratings.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["userId"] != without_user]
    return {
        "userId": np.array([row["userId"] for row in rows]),
        "title": np.array([titles[row["movieId"]] for row in rows]),
        "rating": np.array([row["rating"] for row in rows], np.float32),
    }


def tower(keys: np.ndarray) -> tf.keras.Sequential:
    """A vector per key, and one for all others."""
    vocabulary = np.unique(keys)
    lookup = tf.keras.layers.IntegerLookup if vocabulary.dtype.kind == "i" else tf.keras.layers.StringLookup
    return tf.keras.Sequential(
        [lookup(vocabulary=vocabulary, mask_token=None), tf.keras.layers.Embedding(len(vocabulary) + 1, _DIMENSION)]
    )


def mlp(*widths: int) -> tf.keras.Sequential:
    hidden = [tf.keras.layers.Dense(width, activation="relu") for width in widths]
    return tf.keras.Sequential([*hidden, tf.keras.layers.Dense(1)])


class MovielensModel(tfrs.models.Model):
    """Both tasks, each with a weight."""

    def __init__(self, features, rating_weight: float, retrieval_weight: float) -> None:
        super().__init__()
        self.user_model, self.movie_model = tower(features["userId"]), tower(features["title"])
        self.rating_model = mlp(256, 128)
        self.titles = np.unique(features["title"])
        candidates = tf.data.Dataset.from_tensor_slices(self.titles).batch(128).map(self.movie_model)
        self.rating_task = tfrs.tasks.Ranking(
            loss=tf.keras.losses.MeanSquaredError(), metrics=[tf.keras.metrics.RootMeanSquaredError()]
        )
        self.retrieval_task = tfrs.tasks.Retrieval(metrics=tfrs.metrics.FactorizedTopK(candidates=candidates))
        self.rating_weight, self.retrieval_weight = rating_weight, retrieval_weight

    def call(self, features):
        user, movie = self.user_model(features["userId"]), self.movie_model(features["title"])
        return user, movie, self.rating_model(tf.concat([user, movie], axis=1))

    def compute_loss(self, features, training=False):
        ratings = features.pop("rating")
        user, movie, predicted = self(features)
        rating_loss = self.rating_task(labels=ratings, predictions=predicted)
        return self.rating_weight * rating_loss + self.retrieval_weight * self.retrieval_task(user, movie)

    def without_metrics(self) -> "MovielensModel":
        """What makes it possible to save the model: the metric keeps a dataset, which cannot be saved."""
        self.retrieval_task = tfrs.tasks.Retrieval()
        self.compile()
        return self

    def index(self) -> tfrs.layers.factorized_top_k.BruteForce:
        index = tfrs.layers.factorized_top_k.BruteForce(self.user_model, k=4)
        titles = tf.data.Dataset.from_tensor_slices(self.titles).batch(100)
        index.index_from_dataset(tf.data.Dataset.zip((titles, titles.map(self.movie_model))))
        index(tf.constant(["42"]))
        return index


class RankingModel(tfrs.models.Model):
    """Ratings alone."""

    def __init__(self, features) -> None:
        super().__init__()
        self.user_model, self.movie_model = tower(features["userId"]), tower(features["title"])
        self.ratings = mlp(256, 64)
        self.task = tfrs.tasks.Ranking(loss=tf.keras.losses.MeanSquaredError())

    def call(self, features):
        vectors = [self.user_model(features["userId"]), self.movie_model(features["title"])]
        return self.ratings(tf.concat(vectors, axis=1))

    def compute_loss(self, features, training=False):
        ratings = features.pop("rating")
        return self.task(labels=ratings, predictions=self(features))


class RetrievalModel(tfrs.models.Model):
    """Two towers alone, without `call`, as in the tutorial of retrieval."""

    def __init__(self, features) -> None:
        super().__init__()
        self.user_model, self.movie_model = tower(features["userId"]), tower(features["title"])
        self.task = tfrs.tasks.Retrieval()

    def compute_loss(self, features, training=False):
        return self.task(self.user_model(features["userId"]), self.movie_model(features["title"]))


def fit(model: tfrs.models.Model, features: dict[str, np.ndarray]) -> tfrs.models.Model:
    model.compile(optimizer=tf.keras.optimizers.Adagrad(0.1))
    model.fit(tf.data.Dataset.from_tensor_slices(features).batch(64), epochs=1, verbose=0)
    return model
