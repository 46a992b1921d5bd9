"""Fits: functions that set so many attributes from as many arguments, compiled when dagflow was.

`dagflow.core.record` gives each of its kinds a copy of the one that fits, with the names of its fields for the letters:
compiling an ``__init__`` for each would take a third of a millisecond.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# mypy: disable-error-code="no-untyped-def"


def fit_0(self):
    pass


def fit_1(self, a):
    self.a = a


def fit_2(self, a, b):
    self.a, self.b = a, b


def fit_3(self, a, b, c):
    self.a, self.b, self.c = a, b, c


def fit_4(self, a, b, c, d):
    self.a, self.b, self.c, self.d = a, b, c, d


def fit_5(self, a, b, c, d, e):
    self.a, self.b, self.c, self.d, self.e = a, b, c, d, e


def fit_6(self, a, b, c, d, e, f):
    self.a, self.b, self.c, self.d, self.e, self.f = a, b, c, d, e, f


def fit_7(self, a, b, c, d, e, f, g):
    self.a, self.b, self.c, self.d, self.e, self.f, self.g = a, b, c, d, e, f, g


def fit_8(self, a, b, c, d, e, f, g, h):
    self.a, self.b, self.c, self.d, self.e, self.f, self.g, self.h = a, b, c, d, e, f, g, h


def fit_9(self, a, b, c, d, e, f, g, h, i):
    self.a, self.b, self.c, self.d, self.e, self.f, self.g, self.h = a, b, c, d, e, f, g, h
    self.i = i


def fit_10(self, a, b, c, d, e, f, g, h, i, j):
    self.a, self.b, self.c, self.d, self.e, self.f, self.g, self.h = a, b, c, d, e, f, g, h
    self.i, self.j = i, j


def fit_11(self, a, b, c, d, e, f, g, h, i, j, k):
    self.a, self.b, self.c, self.d, self.e, self.f, self.g, self.h = a, b, c, d, e, f, g, h
    self.i, self.j, self.k = i, j, k


def fit_12(self, a, b, c, d, e, f, g, h, i, j, k, m):
    self.a, self.b, self.c, self.d, self.e, self.f, self.g, self.h = a, b, c, d, e, f, g, h
    self.i, self.j, self.k, self.m = i, j, k, m


def fit_13(self, a, b, c, d, e, f, g, h, i, j, k, m, n):
    self.a, self.b, self.c, self.d, self.e, self.f, self.g, self.h = a, b, c, d, e, f, g, h
    self.i, self.j, self.k, self.m, self.n = i, j, k, m, n


def fit_14(self, a, b, c, d, e, f, g, h, i, j, k, m, n, o):
    self.a, self.b, self.c, self.d, self.e, self.f, self.g, self.h = a, b, c, d, e, f, g, h
    self.i, self.j, self.k, self.m, self.n, self.o = i, j, k, m, n, o


def fit_15(self, a, b, c, d, e, f, g, h, i, j, k, m, n, o, p):
    self.a, self.b, self.c, self.d, self.e, self.f, self.g, self.h = a, b, c, d, e, f, g, h
    self.i, self.j, self.k, self.m, self.n, self.o, self.p = i, j, k, m, n, o, p


def fit_16(self, a, b, c, d, e, f, g, h, i, j, k, m, n, o, p, q):
    self.a, self.b, self.c, self.d, self.e, self.f, self.g, self.h = a, b, c, d, e, f, g, h
    self.i, self.j, self.k, self.m, self.n, self.o, self.p, self.q = i, j, k, m, n, o, p, q


def fit_17(self, a, b, c, d, e, f, g, h, i, j, k, m, n, o, p, q, r):
    self.a, self.b, self.c, self.d, self.e, self.f, self.g, self.h = a, b, c, d, e, f, g, h
    self.i, self.j, self.k, self.m, self.n, self.o, self.p, self.q = i, j, k, m, n, o, p, q
    self.r = r


def fit_18(self, a, b, c, d, e, f, g, h, i, j, k, m, n, o, p, q, r, s):
    self.a, self.b, self.c, self.d, self.e, self.f, self.g, self.h = a, b, c, d, e, f, g, h
    self.i, self.j, self.k, self.m, self.n, self.o, self.p, self.q = i, j, k, m, n, o, p, q
    self.r, self.s = r, s


def fit_19(self, a, b, c, d, e, f, g, h, i, j, k, m, n, o, p, q, r, s, t):
    self.a, self.b, self.c, self.d, self.e, self.f, self.g, self.h = a, b, c, d, e, f, g, h
    self.i, self.j, self.k, self.m, self.n, self.o, self.p, self.q = i, j, k, m, n, o, p, q
    self.r, self.s, self.t = r, s, t


def fit_20(self, a, b, c, d, e, f, g, h, i, j, k, m, n, o, p, q, r, s, t, u):
    self.a, self.b, self.c, self.d, self.e, self.f, self.g, self.h = a, b, c, d, e, f, g, h
    self.i, self.j, self.k, self.m, self.n, self.o, self.p, self.q = i, j, k, m, n, o, p, q
    self.r, self.s, self.t, self.u = r, s, t, u


def fit_21(self, a, b, c, d, e, f, g, h, i, j, k, m, n, o, p, q, r, s, t, u, v):
    self.a, self.b, self.c, self.d, self.e, self.f, self.g, self.h = a, b, c, d, e, f, g, h
    self.i, self.j, self.k, self.m, self.n, self.o, self.p, self.q = i, j, k, m, n, o, p, q
    self.r, self.s, self.t, self.u, self.v = r, s, t, u, v


def fit_22(self, a, b, c, d, e, f, g, h, i, j, k, m, n, o, p, q, r, s, t, u, v, w):
    self.a, self.b, self.c, self.d, self.e, self.f, self.g, self.h = a, b, c, d, e, f, g, h
    self.i, self.j, self.k, self.m, self.n, self.o, self.p, self.q = i, j, k, m, n, o, p, q
    self.r, self.s, self.t, self.u, self.v, self.w = r, s, t, u, v, w


def fit_23(self, a, b, c, d, e, f, g, h, i, j, k, m, n, o, p, q, r, s, t, u, v, w, x):
    self.a, self.b, self.c, self.d, self.e, self.f, self.g, self.h = a, b, c, d, e, f, g, h
    self.i, self.j, self.k, self.m, self.n, self.o, self.p, self.q = i, j, k, m, n, o, p, q
    self.r, self.s, self.t, self.u, self.v, self.w, self.x = r, s, t, u, v, w, x


def fit_24(self, a, b, c, d, e, f, g, h, i, j, k, m, n, o, p, q, r, s, t, u, v, w, x, y):
    self.a, self.b, self.c, self.d, self.e, self.f, self.g, self.h = a, b, c, d, e, f, g, h
    self.i, self.j, self.k, self.m, self.n, self.o, self.p, self.q = i, j, k, m, n, o, p, q
    self.r, self.s, self.t, self.u, self.v, self.w, self.x, self.y = r, s, t, u, v, w, x, y


FITS: Final = [function for name, function in list(globals().items()) if name.startswith("fit_")]
"""By the number of fields."""
