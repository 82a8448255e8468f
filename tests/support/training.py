"""Short trainings on the small input, and a process that knows nothing but TensorFlow."""

import subprocess
import sys
import tempfile
import textwrap
from functools import cache
from pathlib import Path

import numpy as np

from recmodel import schemas as c
from recmodel.data import duplicates
from recmodel.evaluation import splits
from recmodel.models import architectures, presets, saved_model, training
from recmodel.scoring import recommender
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


@cache
def trained(preset):
    """`train` as it stands, once in a process: a model of each preset, for all to read."""
    return train(preset)


@cache
def served(preset):
    """The model of `trained`, saved and loaded again."""
    with tempfile.TemporaryDirectory() as folder:
        saved_model.save(trained(preset)[0].towers(), Path(folder) / "saved_model")
        return recommender.Recommender(Path(folder) / "saved_model")


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
    for folder in sys.argv[1:]:
        asked = np.load(f"{folder}/asked.npz")
        loaded = tf.saved_model.load(f"{folder}/saved_model")
        for name in ("serving_default", "predict"):
            answer = loaded.signatures[name](**{k: tf.constant(asked[k]) for k in asked})
            np.savez(f"{folder}/{name}.npz", **{name: value.numpy() for name, value in answer.items()})
"""


def ask_a_fresh_process(questions, folder):
    """By name, what saved models answer to `predict` in a process that has TensorFlow and nothing else, one for all.

    Args:
        questions: by name, weights and the arguments of `predict`.
    """
    for name, (weights, asked) in questions.items():
        export(weights, folder / name / "saved_model")
        np.savez(folder / name / "asked.npz", **asked)
    command = [sys.executable, "-c", textwrap.dedent(FRESH_PROCESS), *questions]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    answers = {}
    for name in questions:
        answers[name], by_default = (np.load(folder / name / f"{call}.npz") for call in ("predict", "serving_default"))
        for key, values in answers[name].items():
            np.testing.assert_array_equal(by_default[key], values)
    return answers
