"""Movie recommendations: `data → model → artifact → scoring → tables → report`, one module each.

Importing this package imports neither TensorFlow nor Spark; the modules that need them do, and `train`, `score` and
`load` when they are called.
"""

from recmodel.api import load, score, train

__all__ = ["load", "score", "train"]
__version__ = "0.3.1"
