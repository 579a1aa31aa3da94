"""A property that is computed at its first use, and then kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

_Value = TypeVar("_Value")


class once(Generic[_Value]):  # noqa: N801 - it is read as `property` is
    """As `functools.cached_property`, without the lock that it has up to Python 3.11.

    All objects of a class share that lock, which is held while one of them computes: if that one
    waits for a disk, all do. Here two threads that come at once both compute, and the last counts.
    """

    def __init__(self, compute: Callable[[Any], _Value]) -> None:
        self._compute = compute
        self._name = compute.__name__
        self.__doc__ = compute.__doc__

    def __get__(self, of: Any, _: type) -> _Value:
        value = self._compute(of)
        of.__dict__[self._name] = value  # from here on it is found there first
        return value
