"""Numbers as people read them; every number of the page passes through here."""

from __future__ import annotations

from dance.core.progress import duration

ABSENT = "\N{EN DASH}"
"""What stands where a number is not known."""
_GAP = "\N{NO-BREAK SPACE}"


def count(value: int | None) -> str:
    """A whole number in groups of three digits.

    >>> count(950), count(50000).split()
    ('950', ['50', '000'])
    """
    if value is None:
        return ABSENT
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def plural(value: int, singular: str, many: str = "") -> str:
    """A count with its noun.

    >>> plural(1, "network"), plural(3, "network"), plural(2, "class", "classes")
    ('1 network', '3 networks', '2 classes')
    """
    return f"{count(value)} {singular if value == 1 else many or singular + 's'}"


def span(low: int, high: int) -> str:
    """A whole number, or the range in which it lies.

    >>> span(3, 3), span(3, 10)
    ('3', '3 to 10')
    """
    return count(low) if low == high else f"{count(low)} to {count(high)}"


def percent(fraction: float | None) -> str:
    """A fraction in percent with one decimal.

    >>> percent(0.6731).split(), percent(None) == ABSENT
    (['67.3', '%'], True)
    """
    return ABSENT if fraction is None else f"{100 * fraction:.1f}{_GAP}%"


def share(fraction: float) -> str:
    """A share that may be tiny, in percent with two significant digits.

    >>> share(0.002).split(), share(0.256).split()
    (['0.2', '%'], ['26', '%'])
    """
    return f"{float(f'{100 * fraction:.2g}'):g}{_GAP}%"


def points(difference: float) -> str:
    """A difference of two accuracies in percentage points, without its sign.

    >>> points(-0.1234)
    '12.3 points'
    """
    return f"{abs(100 * difference):.1f} points"


def square(resolution: int) -> str:
    """The extent of a square grid.

    >>> square(32).split("\N{MULTIPLICATION SIGN}")
    ['32 ', ' 32']
    """
    return f"{resolution} \N{MULTIPLICATION SIGN} {resolution}"


def size(value: int | None) -> str:
    """Bytes in decimal units.

    >>> size(640).split(), size(307200).split(), size(4_915_200).split()
    (['640', 'bytes'], ['307.2', 'kB'], ['4.9', 'MB'])
    """
    if value is None:
        return ABSENT
    amount, unit = float(value), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{value}{_GAP}bytes" if unit == "bytes" else f"{amount:.1f}{_GAP}{unit}"


def seconds(value: float | None) -> str:
    """A time as people say it.

    >>> seconds(0.0123).split(), seconds(75), seconds(None) == ABSENT
    (['12.3', 'ms'], '1 min 15 s', True)
    """
    if value is None:
        return ABSENT
    return f"{1000 * value:.1f}{_GAP}ms" if value < 1 else duration(value)
