"""Functions and values that worker processes import: this file imports little, since each worker does so anew."""

import ctypes
import os
import signal
import sys

POISON = 17


def die(how):
    if how == "exit 0":
        os._exit(0)
    if how == "exit 3":
        os._exit(3)
    if how == "segfault":
        ctypes.string_at(0)
    os.kill(os.getpid(), getattr(signal, how))


class Poisoned:
    """A function that dies of some tasks, and says what it was asked to do."""

    def __init__(self, how, log, poison=(POISON,)):
        self.how, self.log, self.poison = how, log, frozenset(poison)
        self.__name__ = "poisoned"

    def __call__(self, x):
        self.log.add(x)
        if x in self.poison:
            die(self.how)
        return -x


class PoisonedAsync(Poisoned):
    async def __call__(self, x):
        return super().__call__(x)


class PoisonedBatch(Poisoned):
    def __call__(self, tasks):
        self.log.add(",".join(map(str, tasks)))
        if self.poison & set(tasks):
            die(self.how)
        return [-x for x in tasks]


DRIVER = int(os.environ.setdefault("DAGFLOW_TEST_DRIVER", str(os.getpid())))  # workers find it set


class DiesWhen:
    """A value that kills whoever pickles it, or whoever reads it."""

    def __init__(self, when, number):
        self.when, self.number = when, number

    def __reduce__(self):
        if self.when == "pickled" and os.getpid() != DRIVER:
            os._exit(5)
        return _made_again, (self.when, self.number)

    def __del__(self):
        if self.when == "freed" and os.getpid() != DRIVER:
            os._exit(5)


def _made_again(when, number):
    if when == "read":
        os._exit(5)
    return DiesWhen(when, number)


class Refuses:
    def __init__(self):
        raise LookupError("no model at hand")

    def __call__(self, x):
        return x


class Exits:
    def __init__(self):
        sys.stderr.write("the licence has expired\n")
        sys.stderr.flush()
        os.write(2, b"(said by a library written in C)\n")
        os._exit(3)

    def __call__(self, x):
        return x


class ExitsWhenHeard:
    """Ends when its words have been passed on, as it learns by a fifo."""

    def __init__(self):
        print("the licence has expired", file=sys.stderr)
        open(os.environ["DAGFLOW_TEST_HEARD"]).close()
        os._exit(3)

    def __call__(self, x):
        return x


class Crashes:
    def __init__(self):
        ctypes.string_at(0)

    def __call__(self, x):
        return x
