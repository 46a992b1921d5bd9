"""Fits: functions that set so many attributes from as many arguments, compiled when dagflow was.

`dagflow.core.record` gives each of its kinds a copy of the one that fits, with the names of its fields for the letters:
compiling an ``__init__`` for each would take a third of a millisecond. Three at a time, for which no tuple is made.
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
    self.a, self.b, self.c = a, b, c
    self.d = d


def fit_5(self, a, b, c, d, e):
    self.a, self.b, self.c = a, b, c
    self.d, self.e = d, e


def fit_6(self, a, b, c, d, e, f):
    self.a, self.b, self.c = a, b, c
    self.d, self.e, self.f = d, e, f


def fit_7(self, a, b, c, d, e, f, g):
    self.a, self.b, self.c = a, b, c
    self.d, self.e, self.f = d, e, f
    self.g = g


def fit_8(self, a, b, c, d, e, f, g, h):
    self.a, self.b, self.c = a, b, c
    self.d, self.e, self.f = d, e, f
    self.g, self.h = g, h


def fit_9(self, a, b, c, d, e, f, g, h, i):
    self.a, self.b, self.c = a, b, c
    self.d, self.e, self.f = d, e, f
    self.g, self.h, self.i = g, h, i


def fit_10(self, a, b, c, d, e, f, g, h, i, j):
    self.a, self.b, self.c = a, b, c
    self.d, self.e, self.f = d, e, f
    self.g, self.h, self.i = g, h, i
    self.j = j


def fit_11(self, a, b, c, d, e, f, g, h, i, j, k):
    self.a, self.b, self.c = a, b, c
    self.d, self.e, self.f = d, e, f
    self.g, self.h, self.i = g, h, i
    self.j, self.k = j, k


def fit_12(self, a, b, c, d, e, f, g, h, i, j, k, m):
    self.a, self.b, self.c = a, b, c
    self.d, self.e, self.f = d, e, f
    self.g, self.h, self.i = g, h, i
    self.j, self.k, self.m = j, k, m


def fit_13(self, a, b, c, d, e, f, g, h, i, j, k, m, n):
    self.a, self.b, self.c = a, b, c
    self.d, self.e, self.f = d, e, f
    self.g, self.h, self.i = g, h, i
    self.j, self.k, self.m = j, k, m
    self.n = n


def fit_14(self, a, b, c, d, e, f, g, h, i, j, k, m, n, o):
    self.a, self.b, self.c = a, b, c
    self.d, self.e, self.f = d, e, f
    self.g, self.h, self.i = g, h, i
    self.j, self.k, self.m = j, k, m
    self.n, self.o = n, o


def fit_15(self, a, b, c, d, e, f, g, h, i, j, k, m, n, o, p):
    self.a, self.b, self.c = a, b, c
    self.d, self.e, self.f = d, e, f
    self.g, self.h, self.i = g, h, i
    self.j, self.k, self.m = j, k, m
    self.n, self.o, self.p = n, o, p


def fit_16(self, a, b, c, d, e, f, g, h, i, j, k, m, n, o, p, q):
    self.a, self.b, self.c = a, b, c
    self.d, self.e, self.f = d, e, f
    self.g, self.h, self.i = g, h, i
    self.j, self.k, self.m = j, k, m
    self.n, self.o, self.p = n, o, p
    self.q = q


def fit_17(self, a, b, c, d, e, f, g, h, i, j, k, m, n, o, p, q, r):
    self.a, self.b, self.c = a, b, c
    self.d, self.e, self.f = d, e, f
    self.g, self.h, self.i = g, h, i
    self.j, self.k, self.m = j, k, m
    self.n, self.o, self.p = n, o, p
    self.q, self.r = q, r


def fit_18(self, a, b, c, d, e, f, g, h, i, j, k, m, n, o, p, q, r, s):
    self.a, self.b, self.c = a, b, c
    self.d, self.e, self.f = d, e, f
    self.g, self.h, self.i = g, h, i
    self.j, self.k, self.m = j, k, m
    self.n, self.o, self.p = n, o, p
    self.q, self.r, self.s = q, r, s


def fit_19(self, a, b, c, d, e, f, g, h, i, j, k, m, n, o, p, q, r, s, t):
    self.a, self.b, self.c = a, b, c
    self.d, self.e, self.f = d, e, f
    self.g, self.h, self.i = g, h, i
    self.j, self.k, self.m = j, k, m
    self.n, self.o, self.p = n, o, p
    self.q, self.r, self.s = q, r, s
    self.t = t


def fit_20(self, a, b, c, d, e, f, g, h, i, j, k, m, n, o, p, q, r, s, t, u):
    self.a, self.b, self.c = a, b, c
    self.d, self.e, self.f = d, e, f
    self.g, self.h, self.i = g, h, i
    self.j, self.k, self.m = j, k, m
    self.n, self.o, self.p = n, o, p
    self.q, self.r, self.s = q, r, s
    self.t, self.u = t, u


def fit_21(self, a, b, c, d, e, f, g, h, i, j, k, m, n, o, p, q, r, s, t, u, v):
    self.a, self.b, self.c = a, b, c
    self.d, self.e, self.f = d, e, f
    self.g, self.h, self.i = g, h, i
    self.j, self.k, self.m = j, k, m
    self.n, self.o, self.p = n, o, p
    self.q, self.r, self.s = q, r, s
    self.t, self.u, self.v = t, u, v


def fit_22(self, a, b, c, d, e, f, g, h, i, j, k, m, n, o, p, q, r, s, t, u, v, w):
    self.a, self.b, self.c = a, b, c
    self.d, self.e, self.f = d, e, f
    self.g, self.h, self.i = g, h, i
    self.j, self.k, self.m = j, k, m
    self.n, self.o, self.p = n, o, p
    self.q, self.r, self.s = q, r, s
    self.t, self.u, self.v = t, u, v
    self.w = w


def fit_23(self, a, b, c, d, e, f, g, h, i, j, k, m, n, o, p, q, r, s, t, u, v, w, x):
    self.a, self.b, self.c = a, b, c
    self.d, self.e, self.f = d, e, f
    self.g, self.h, self.i = g, h, i
    self.j, self.k, self.m = j, k, m
    self.n, self.o, self.p = n, o, p
    self.q, self.r, self.s = q, r, s
    self.t, self.u, self.v = t, u, v
    self.w, self.x = w, x


def fit_24(self, a, b, c, d, e, f, g, h, i, j, k, m, n, o, p, q, r, s, t, u, v, w, x, y):
    self.a, self.b, self.c = a, b, c
    self.d, self.e, self.f = d, e, f
    self.g, self.h, self.i = g, h, i
    self.j, self.k, self.m = j, k, m
    self.n, self.o, self.p = n, o, p
    self.q, self.r, self.s = q, r, s
    self.t, self.u, self.v = t, u, v
    self.w, self.x, self.y = w, x, y


FITS: Final = [function for name, function in list(globals().items()) if name.startswith("fit_")]
"""By the number of fields."""
