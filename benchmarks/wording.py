"""Numbers, times and dates as a person would say them."""

from __future__ import annotations

import math
from datetime import datetime

from variform.benchmarks.schema import finite


def _power_of_ten(mantissa: str, exponent: str) -> str:
    if not int(exponent):
        return mantissa
    return f"{mantissa} × 10{str(int(exponent)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def error_text(value: float | None) -> str:
    """Two digits and a power of ten; an en dash where there is no number.

    >>> error_text(1.234e-3)
    '1.2 × 10⁻³'
    """
    if not finite(value):
        return "–"
    return "0" if value == 0 else _power_of_ten(*f"{value:.1e}".split("e")).replace("-", "−")


def range_text(q1: float | None, q3: float | None) -> str:
    """From one error to another, with one power of ten where that is short.

    >>> range_text(8.1e-3, 1.2e-2), range_text(1e-5, 1.2e-2)
    ('[0.81, 1.2] × 10⁻²', '1.0 × 10⁻⁵ – 1.2 × 10⁻²')
    """
    if not (finite(q1) and finite(q3)) or not 0 < q1 <= q3:
        return f"{error_text(q1)} – {error_text(q3)}"
    mantissa, exponent = f"{q3:.1e}".split("e")
    low = q1 / 10 ** int(exponent)
    if low < 0.01:
        return f"{error_text(q1)} – {error_text(q3)}"
    first = f"{low:.1f}" if low >= 0.995 else f"{low:#.2g}"
    return _power_of_ten(f"[{first}, {mantissa}]", exponent)


def power_text(value: float) -> str:
    """A round number, for an axis.

    >>> power_text(1e-3), power_text(0.02), power_text(1.0)
    ('10⁻³', '2 × 10⁻²', '1')
    """
    mantissa, exponent = f"{value:.0e}".split("e")
    return _power_of_ten(mantissa, exponent).removeprefix("1 × ").replace("-", "−")


def number_text(value: float | None, digits: int = 5) -> str:
    """Significant digits.

    >>> number_text(0.0123456), number_text(0.99862, digits=3)
    ('0.012346', '0.999')
    """
    if not finite(value):
        return "–"
    mantissa, _, exponent = f"{value:.{digits}g}".partition("e")
    return (_power_of_ten(mantissa, exponent) if exponent else mantissa).replace("-", "−")


def score_text(value: float | None) -> str:
    """Three digits, for metrics of any size; two of the difference where a correlation is near 1.

    >>> score_text(0.5), score_text(0.00412), score_text(-1.5e-7), score_text(0.999964)
    ('0.500', '4.12 × 10⁻³', '−1.50 × 10⁻⁷', '0.999964')
    """
    if not finite(value):
        return "–"
    if 0.9 < value < 1 - 1e-7:
        return f"{value:.{math.ceil(-math.log10(1 - value)) + 1}f}"
    if value == 0 or 1e-2 <= abs(value) < 1e4:
        return "0" if value == 0 else f"{value:#.3g}".rstrip(".").replace("-", "−")
    return _power_of_ten(*f"{value:.2e}".split("e")).replace("-", "−")


def score_range_text(q1: float | None, q3: float | None) -> str:
    """Quartiles of a score.

    >>> score_range_text(0.0133, 0.027), score_range_text(5.8e-3, 0.0118)
    ('[0.0133, 0.0270]', '[0.58, 1.2] × 10⁻²')
    """
    if not (finite(q1) and finite(q3)):
        return "–"
    needs_power = 0 < q1 < 1e-2 or q1 > 1e4
    return range_text(q1, q3) if needs_power else f"[{score_text(q1)}, {score_text(q3)}]"


def percent_text(ratio: float) -> str:
    """A signed deviation.

    >>> percent_text(-0.0117)
    '−1.2 %'
    """
    percent = 100 * ratio
    digits = f"{percent:+.2g}" if 1e-3 <= abs(percent) < 100 else f"{percent:+.0f}"
    return "±0 %" if abs(percent) < 1e-3 else f"{digits} %".replace("-", "−")


def factor_text(ratio: float) -> str:
    """How much quicker, or slower.

    >>> factor_text(12.3), factor_text(0.25)
    ('12 times quicker', '4 times slower')
    """
    quick, slow = f"{ratio:.2g}", f"{1 / ratio:.2g}"
    return f"{float(quick):g} times quicker" if ratio >= 1 else f"{float(slow):g} times slower"


def duration_text(seconds: float | None) -> str:
    """Milliseconds to hours, as one would say it.

    >>> duration_text(0.123), duration_text(3.41), duration_text(72)
    ('0.12 s', '3.4 s', '1 min 12 s')
    """
    if not finite(seconds):
        return "–"
    if seconds < 0.0995:
        return f"{1000 * seconds:.2g} ms"
    if seconds < 0.995:
        return f"{seconds:.2f} s"
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def count_text(value: int | None) -> str:
    """Thousands set apart by a narrow space."""
    return "–" if value is None else f"{value:,}".replace(",", "\u202f")


def memory_text(megabytes: float | None) -> str:
    if not finite(megabytes):
        return "–"
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{megabytes:.0f} MB"


def solutions_text(number: float | None) -> str:
    """A break-even number of solutions, rounded up, to three digits where it is large.

    >>> solutions_text(0.2), solutions_text(37.1), solutions_text(None)
    ('1 solution', '38 solutions', 'never')
    """
    if not finite(number):
        return "never"
    whole = max(math.ceil(number), 1)
    step = 10 ** max(len(str(whole)) - 3, 0)
    return f"{count_text(math.ceil(whole / step) * step)} solution{'s' * (whole != 1)}"


def date_text(iso: str) -> str:
    """Day and minute of an ISO time; anything else as it is.

    >>> date_text("2026-03-01T14:05:59+00:00")
    '1 March 2026, 14:05 UTC'
    """
    try:
        time = datetime.fromisoformat(iso)
    except ValueError:
        return iso
    return f"{time.day} {time:%B %Y, %H:%M %Z}".rstrip()
