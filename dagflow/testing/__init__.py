"""Tools to test graphs, backends and dagflow itself: public, and used by dagflow's own tests.

* `graphs`: random graphs and functions for them, from a seed or from hypothesis (`strategies`).
* `world`: reality as data: which events may answer the commands that are outstanding.
* `simulate`: whole runs of the real scheduler on a `World` with a seed: any order, deaths, late answers.
* `contracts`: a conformance suite that any backend can run; `semantics`, the part of it that is the meaning of
  graphs, in any execution mode (`functions` and `witnesses` are what these two are made of).
* `stage`: the real ring and scheduler among fake workers, source, consumer and clock, by seeds: deaths, slow, late,
  doubled and lost answers, stops at any moment.
* `chaos` and `overload`: commands (``python -m dagflow.testing.chaos``) that run real processes: with a killer among
  them, and with more than fits.
"""
