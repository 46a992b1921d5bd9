"""Functions of a module that uses the heavy one."""

import heavy
import loading_work


def loaded_too(value):
    assert heavy.Value
    return loading_work.loaded(value)
