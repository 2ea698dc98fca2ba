"""What varies over an ensemble, as it is written on the command line: ranges of a sweep, laws of numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from variform.errors import InputError

MOST = 1_000_000
"""Values in one sweep."""
LAWS = ("uniform", "normal", "lognormal")


def sweep_axis(text: str) -> tuple[str, tuple[Any, ...]]:
    """Key and values of `key=a:b:n` (evenly spaced), `key=a:b:n:log` (in equal ratios) or `key=v1,v2,v3`.

    Raises:
        InputError: none of the three; numbers that are not finite, n below 1, a range in equal ratios through zero.
    """
    key, equals, given = text.partition("=")
    parts = given.split(":")
    if not key or not equals or not given or len(parts) == 2 or len(parts) > 4:
        raise InputError(f"--sweep {text!r} must be key=a:b:n, key=a:b:n:log or key=v1,v2,v3")
    values = _listed(text, given) if len(parts) == 1 else _ranged(text, *parts)
    if len(set(values)) < len(values):
        raise InputError(f"--sweep {text!r} holds a value twice")
    return key, values


def _listed(text: str, given: str) -> tuple[Any, ...]:
    words = [word.strip() for word in given.split(",")]
    if not all(words):
        raise InputError(f"--sweep {text!r} has an empty value")
    return tuple(_number_or_word(word) for word in words)


def _number_or_word(word: str) -> Any:
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word


def _ranged(text: str, start: str, end: str, count: str, spacing: str = "") -> tuple[float, ...]:
    try:
        a, b, n = float(start), float(end), int(count)
    except ValueError:
        raise InputError(f"--sweep {text!r}: a, b must be numbers and n a whole number in key=a:b:n") from None
    if spacing not in ("", "log"):
        raise InputError(f"--sweep {text!r}: after n there can only be log, got {spacing!r}")
    if not (math.isfinite(a) and math.isfinite(b)):
        raise InputError(f"--sweep {text!r}: a and b must be finite")
    if not 1 <= n <= MOST:
        raise InputError(f"--sweep {text!r}: n must be between 1 and {MOST}, got {n}")
    if spacing and not a * b > 0:
        raise InputError(f"--sweep {text!r}: a logarithmic range cannot hold zero: a and b must have one sign")
    return tuple(float(v) for v in (np.geomspace if spacing else np.linspace)(a, b, n))


@dataclass(frozen=True)
class NumberLaw:
    """A distribution of one number: uniform(lowest, highest), normal(mean, deviation), lognormal(mean, deviation).

    Those of lognormal are of the logarithm.
    """

    kind: str
    first: float
    second: float

    @classmethod
    def parse(cls, text: str) -> tuple[str, NumberLaw]:
        """Key and law of `key=uniform:a:b`, `key=normal:m:s` or `key=lognormal:m:s`.

        Raises:
            InputError: no such law, or numbers that it does not take.
        """
        key, equals, given = text.partition("=")
        kind, *numbers = given.split(":")
        try:
            first, second = map(float, numbers)
        except ValueError:
            kind = ""
        if not key or not equals or kind not in LAWS:
            raise InputError(f"--random {text!r} must be key=uniform:a:b, key=normal:m:s or key=lognormal:m:s")
        if not (math.isfinite(first) and math.isfinite(second)):
            raise InputError(f"--random {text!r}: both numbers must be finite")
        if kind == "uniform" and not first < second:
            raise InputError(f"--random {text!r}: a must be below b")
        if kind != "uniform" and not second > 0:
            raise InputError(f"--random {text!r}: the deviation s must be above 0")
        return key, cls(kind, first, second)

    def sample(self, rng: np.random.Generator) -> float:
        return float(getattr(rng, self.kind)(self.first, self.second))
