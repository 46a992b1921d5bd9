"""Functions of a module that does not know the heavy one."""

import os
import sys


def loaded(value):
    """Who has loaded the heavy module: the process that forked this one, this one, or nobody."""
    heavy = sys.modules.get("heavy")
    if heavy is None:
        return "nobody"
    return {os.getppid(): "the zygote", os.getpid(): "the worker"}[heavy.LOADED_BY]


def number(value):
    """A random number, and who drew it; slow enough for several workers to have a share."""
    import time

    from numpy import random

    time.sleep(0.01)
    return random.random(), os.getpid()
