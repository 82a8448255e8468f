"""TensorFlow as `tf`, set up as this project needs it and without its start-up chatter.

Every module that needs TensorFlow imports it from here, so that what must precede the first import does.
"""

import os

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # TensorFlow Recommenders is written for Keras 2
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # failures reach us as exceptions, not as log lines

# The C++ side prints some lines to file descriptor 2 before it reads the level above.
_stderr = os.dup(2)
_nowhere = os.open(os.devnull, os.O_WRONLY)
os.dup2(_nowhere, 2)
try:
    import tensorflow as tf
finally:
    os.dup2(_stderr, 2)
    os.close(_stderr)
    os.close(_nowhere)

__all__ = ["tf"]
