"""Formatting of numbers and tables for terminals, Markdown pages and the report.

A number and its unit are separated by a no-break space; :func:`plain` replaces it by an ordinary
one for terminals, where people search and copy text.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dance.core.progress import duration

ABSENT = "\N{EN DASH}"
"""Shown in place of an unknown number."""
_GAP = "\N{NO-BREAK SPACE}"
_TEX = {
    "\\": "\\textbackslash{}", "&": "\\&", "%": "\\%", "$": "\\$", "#": "\\#", "_": "\\_",
    "{": "\\{", "}": "\\}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}",
    "±": "$\\pm$", "\N{MINUS SIGN}": "$-$", "\N{MULTIPLICATION SIGN}": "$\\times$",
    ABSENT: "--", _GAP: "~", "\N{NARROW NO-BREAK SPACE}": "\\,",
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        title: above it.
        columns: names; on terminals and in Markdown, those that start with ``>`` are right-aligned,
            and those that start with ``<`` do not wrap.
        rows: cells.
        note: below it.
    """

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""

    def markdown(self) -> list[str]:
        """Lines of Markdown, the title as a heading of the second level."""
        lines = ["", f"## {self.title}", "", *markdown_rows(self.columns, self.rows)]
        return [*lines, "", self.note] if self.note else lines

    def html(self) -> str:
        """The table as HTML without a style of its own, as a notebook shows it.

        >>> Table("", ("name", ">n"), [("a < b", "1")]).html()
        '<table><tr><th>name</th><th>n</th></tr><tr><td>a &lt; b</td><td>1</td></tr></table>'
        """

        def line(tag: str, cells: Iterable[str]) -> str:
            return f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells)}</tr>"

        title = f"<caption>{html.escape(self.title)}</caption>" if self.title else ""
        head = line("th", (column.lstrip("<>") for column in self.columns))
        rows = "".join(line("td", row) for row in self.rows)
        note = f"<p>{html.escape(self.note)}</p>" if self.note else ""
        return f"<table>{title}{head}{rows}</table>{note}"

    def latex(self) -> str:
        r"""A ``tabular`` of LaTeX in the style of ``booktabs``, the title as a comment.

        >>> print(Table("Scores", ("name", ">%"), [("a_b", "50.1 ± 0.2")]).latex())
        % Scores
        \begin{tabular}{lr}
        \toprule
        name & \% \\
        \midrule
        a\_b & 50.1 $\pm$ 0.2 \\
        \bottomrule
        \end{tabular}
        """

        def line(cells: Iterable[str]) -> str:
            return " & ".join(map(latex, cells)) + r" \\"

        kinds = "".join("r" if column.startswith(">") else "l" for column in self.columns)
        head = line(column.lstrip("<>") for column in self.columns)
        return "\n".join(
            [f"% {plain(self.title)}", rf"\begin{{tabular}}{{{kinds}}}", r"\toprule", head,
             r"\midrule", *map(line, self.rows), r"\bottomrule", r"\end{tabular}"]
        )  # fmt: skip


def markdown_rows(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    r"""Lines of Markdown of a table without title; arguments as of :class:`Table`.

    >>> markdown_rows((">n", "name"), [("1", "a|b")])
    ['| n | name |', '|---:|---|', '| 1 | a\\|b |']
    """

    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"

    rule = "|".join("---:" if column.startswith(">") else "---" for column in columns)
    return [line(column.lstrip(">") for column in columns), f"|{rule}|", *map(line, rows)]


def latex(text: str) -> str:
    r"""Text with the special characters of LaTeX escaped.

    >>> latex("50 % of a_b"), latex(count(50000))
    ('50 \\% of a\\_b', '50\\,000')
    """
    return "".join(_TEX.get(letter, letter) for letter in text)


def latex_tables(tables: Iterable[Table]) -> str:
    """The content of a LaTeX file with tables, and the package that they need."""
    return "\n\n".join(["% \\usepackage{booktabs}", *(table.latex() for table in tables)]) + "\n"


def plain(text: str) -> str:
    """The text with ordinary spaces instead of no-break spaces.

    >>> plain(size(640))
    '640 bytes'
    """
    return text.replace(_GAP, " ")


def count(value: int | None) -> str:
    """An integer in groups of three digits.

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
    """An integer, or the range in which it lies.

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


def mean_std(mean: float, std: float, networks: int) -> str:
    """Mean and standard deviation of accuracies, given as fractions, in percent.

    One network has no standard deviation, and only its accuracy is shown.

    >>> mean_std(0.7081, 0.0023, 10), mean_std(0.7081, 0.0, 1)
    ('70.8 ± 0.2', '70.8')
    """
    return f"{100 * mean:.1f}" if networks == 1 else f"{100 * mean:.1f} ± {100 * std:.1f}"


def small_percent(fraction: float) -> str:
    """A fraction that may be tiny, in percent with two significant digits.

    >>> small_percent(0.002).split(), small_percent(0.256).split()
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
    """Height and width of a square image.

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
    """A duration with its unit.

    >>> seconds(0.0123).split(), seconds(75), seconds(None) == ABSENT
    (['12.3', 'ms'], '1 min 15 s', True)
    """
    if value is None:
        return ABSENT
    return f"{1000 * value:.1f}{_GAP}ms" if value < 1 else duration(value)


def measured_seconds(value: float) -> str:
    """A measured duration with about three digits.

    >>> measured_seconds(0.00123), measured_seconds(0.1234), measured_seconds(12.345)
    ('1.23 ms', '123 ms', '12.35 s')
    """
    if value >= 1:
        return f"{value:.2f} s"
    thousandths = 1000 * value
    return f"{thousandths:.{0 if thousandths >= 100 else 1 if thousandths >= 10 else 2}f} ms"


def times(value: float) -> str:
    """A ratio, such as a speedup.

    >>> times(2.345), times(23.45)
    ('2.3x', '23x')
    """
    return f"{value:.1f}x" if value < 10 else f"{value:.0f}x"


def whole(value: float) -> str:
    """A number rounded to an integer.

    >>> whole(12345.6)
    '12,346'
    """
    return f"{value:,.0f}"


def megabytes(value: int | None) -> str:
    """Bytes in megabytes, the same unit for a whole column.

    >>> megabytes(3_045_000_000), megabytes(None)
    ('3,045 MB', 'unknown')
    """
    return "unknown" if value is None else f"{value / 1e6:,.0f} MB"
