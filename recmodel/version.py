"""The version of this package, for setup.py, run.json and the command line."""

__version__ = "0.3.2"
