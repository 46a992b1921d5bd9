"""Values and functions that make trouble on their way."""

import ctypes
import os
import sys
import threading
import types

DRIVER = int(os.environ.setdefault("DAGFLOW_TEST_DRIVER", str(os.getpid())))  # workers find it set


def trouble(how):
    if how == "raise":
        raise ValueError("trouble")
    if how == "exit":
        sys.exit("trouble")
    if how == "interrupt":
        raise KeyboardInterrupt
    if how == "die":
        os._exit(7)
    if how == "crash":
        ctypes.string_at(0)
    return how


class Troublesome:
    """A value that makes trouble when it is pickled, read, or freed."""

    def __init__(self, when, how):
        self.when, self.how = when, how

    def __reduce__(self):
        if self.when == "pickled":
            trouble(self.how)
        return _again, (self.when, self.how)

    def __deepcopy__(self, memo):
        return self


def _again(when, how):
    if when == "read":
        trouble(how)
    return Troublesome(when, how)


def make(task):
    """What a task asks for."""
    if isinstance(task, tuple) and task[0] == "make":
        return {"made": [Troublesome(task[1], task[2])]}
    if isinstance(task, tuple) and task[0] == "do":
        trouble(task[1])
    return task


class Quiet:
    """Leaves its pickling to Python."""

    def __init__(self, x):
        self.x = x

    def __eq__(self, other):
        return type(other) is type(self) and other.x == self.x


class Loud(Quiet):
    """Does something when it is read."""

    def __setstate__(self, state):
        if state["x"] == 3:
            raise ValueError("three cannot be read")
        self.__dict__.update(state)


class Elsewhere(Quiet):
    """Can be read in workers, and not in the driver."""

    def __setstate__(self, state):
        if os.getpid() == DRIVER:
            raise OSError("not in this process")
        self.__dict__.update(state)


class Asking(Quiet):
    """Asks for what it does not have yet when it is read: endless recursion, as in many a class with ``__getattr__``."""

    def __getattr__(self, name):
        return getattr(self.inner, name)


def of_a_module_of_its_own(x):
    """A value whose class exists in the worker only."""
    module = sys.modules.setdefault("only_in_the_worker", types.ModuleType("only_in_the_worker"))
    if not hasattr(module, "Thing"):
        module.Thing = type("Thing", (Quiet,), {"__module__": module.__name__})
    return module.Thing(x) if x % 10 == 3 else x


def deep(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


def cyclic():
    value = [1, {}]
    value[1]["me"] = value
    return value


# -- exceptions -----------------------------------------------------------------------------------------


class TwoArguments(Exception):
    def __init__(self, code, place):
        super().__init__(f"{code} at {place}")
        self.code, self.place = code, place


class HoldsLock(Exception):
    def __init__(self, text):
        super().__init__(text, threading.Lock())
        self.lock = threading.Lock()
        self.kept = 5


class BadReduce(Exception):
    def __reduce__(self):
        raise TypeError("I do not travel")


class BadText(Exception):
    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


class BadEverything(Exception):
    def __getattribute__(self, name):
        raise RuntimeError(f"no {name}")


class BadNew(Exception):
    def __new__(cls, *args):
        if os.getpid() == DRIVER or getattr(BadNew, "made", False):
            raise LookupError("only once")
        BadNew.made = True
        return super().__new__(cls, *args)


class BadArgs(Exception):
    args = property(lambda self: 1 / 0)


class BadState(Exception):
    __dict__ = property(lambda self: 1 / 0)


class DiesWhenRead(Exception):
    def __setattr__(self, name, value):
        object.__setattr__(self, name, value)

    def __init__(self, *args):
        super().__init__(*args)
        self.value = Troublesome("read", "die")


def raiser(kind):
    if kind == "local":

        class Local(Exception):
            pass

        raise Local("of a function")
    if kind == "cycle":
        error = ValueError("caused by itself")
        error.__cause__ = KeyError("between")
        error.__cause__.__cause__ = error
        raise error
    if kind == "group":
        raise ExceptionGroup("several", [TwoArguments(1, "a"), ExceptionGroup("inner", [HoldsLock("b"), BadText()])])
    if kind == "long":
        raise ValueError("x" * 10_000_000)
    if kind == "deep":
        error = None
        for number in range(300):
            following = ValueError(number)
            following.__cause__, error = error, following
        raise error
    raise {
        "two": lambda: TwoArguments(7, "home"),
        "lock": lambda: HoldsLock("with a lock"),
        "reduce": lambda: BadReduce("text"),
        "text": BadText,
        "everything": BadEverything,
        "new": BadNew,
        "args": lambda: BadArgs("x"),
        "state": lambda: BadState("x"),
        "oserror": lambda: PermissionError(13, "no", "/root/x"),
        "dies": lambda: DiesWhenRead("quietly"),
    }[kind]()
