"""Movie recommendations: data → models → scoring → tables → report, a package each, and a pipeline that runs them.

Importing this package imports neither TensorFlow nor Spark; `train`, `score` and `load` do when they are called.
"""

from recmodel.api import load, score, train
from recmodel.version import __version__

__all__ = ["__version__", "load", "score", "train"]
