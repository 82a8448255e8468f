"""Short trainings on the small input, and a process that knows nothing but TensorFlow."""

import subprocess
import sys
import textwrap

import numpy as np

from recmodel import schemas as c
from recmodel.data import duplicates
from recmodel.evaluation import splits
from recmodel.models import architectures, presets, saved_model, training
from support.inputs import CATALOGUE, make_ratings, table


def train(preset="joint", rows=None, seed=1, **changes):
    """(weights, fitted, held out) of a short training."""
    everything = duplicates.latest(table(rows or make_ratings()))
    fitted, held_out = splits.at_random(everything, 0.2, seed)
    trained = training.train(
        fitted, np.unique(everything[c.USER_ID]), CATALOGUE, presets.load(preset, epochs=2, **changes),
        seed=seed, rating_range=(0.5, 5.0),
    )  # fmt: skip
    return trained, fitted, held_out


def export(weights, folder):
    """Save a model of any architecture, which is the package that the class of its weights is in."""
    architecture = type(weights).__module__.split(".")[-2]
    saved_model.save(architectures.part(architecture, "towers").Towers(weights), folder)


FRESH_PROCESS = """
    import sys
    for name in ("keras", "tf_keras", "tensorflow_recommenders", "recmodel"):
        sys.modules[name] = None  # an import of it fails
    import numpy as np
    import tensorflow as tf
    asked = np.load("asked.npz")
    loaded = tf.saved_model.load("saved_model")
    for name in ("serving_default", "predict"):
        answer = loaded.signatures[name](**{k: tf.constant(asked[k]) for k in asked})
    np.savez("answer.npz", **{name: value.numpy() for name, value in answer.items()})
"""


def ask_a_fresh_process(weights, folder, **asked):
    """`predict` of the saved model in a process that has TensorFlow and nothing else."""
    export(weights, folder / "saved_model")
    np.savez(folder / "asked.npz", **asked)
    command = [sys.executable, "-c", textwrap.dedent(FRESH_PROCESS)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    answer = np.load(folder / "answer.npz")
    assert set(answer) == {"retrieval_score", "predicted_rating", "known_user", "known_movie"}
    assert answer[c.RETRIEVAL_SCORE].dtype == answer[c.PREDICTED_RATING].dtype == np.float32
    assert np.ptp(answer[c.RETRIEVAL_SCORE]) > 0  # pairs do differ
    return answer
