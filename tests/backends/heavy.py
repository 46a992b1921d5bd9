"""Stands for a module that takes long to load, with values of its own."""

import os

LOADED_BY = os.getpid()


class Value:
    """What needs this module wherever it is read."""

    word = "heavy"
