"""Movie recommendations: `data → model → artifact → scoring → tables → report`, one module each.

Importing this package imports neither TensorFlow nor Spark; the modules that need them do.
"""

__version__ = "0.1.0"
