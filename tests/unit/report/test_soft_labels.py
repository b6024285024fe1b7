"""Rows with soft labels on the page and on the command line: never beside those with hard ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from dance.cli.output import print_scores
from dance.condensed import Score
from dance.report.page import render
from dance.report.preview import _score_line
from dance.report.record import read_run
from dance.report.tables import headline, protocol_tables
from unit.report.synthetic_run import score, write_run


def rows(*kinds: str) -> list[dict[str, object]]:
    """A condensed and a random row for each kind of labels."""
    found = []
    for number, kind in enumerate(kinds):
        for place, subject in enumerate(("condensed", "random")):
            mean = 0.5 + 0.2 * number - 0.1 * place
            made = score(subject, mean, 10, storage=512, seed=10 * number + place)
            found.append({**made, "labels": kind})
    return found


def test_hard_and_soft_rows_are_tables_of_their_own(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "run", scores=rows("hard", "soft")))
    tables = protocol_tables(run.scores)
    names = [table.protocol for table in tables]
    assert len(names) == 2 and names[1] == f"{names[0]}, soft labels"
    for table, kind in zip(tables, ("hard", "soft"), strict=True):
        held = [row.labels for group in table.groups for _, row in group.rows]
        assert held == [kind, kind]
    page = render(run)
    assert page.count("<caption") >= 2 and "soft labels" in page


def test_the_preview_names_soft_labels(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "run", scores=rows("soft")))
    assert "soft labels" in _score_line(run)


@pytest.mark.parametrize("kinds", [("hard", "soft"), ("soft", "hard")])
def test_what_is_compared_in_the_headline_has_the_same_labels(kinds, tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "run", scores=rows(*kinds)))
    assert {row.labels for row in headline(run.scores).values()} == {kinds[0]}


def test_a_page_of_hard_rows_does_not_speak_of_soft_ones(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "run"))
    assert {row.labels for row in run.scores} == {"hard"}
    assert "soft" not in render(run).split("</style>")[-1]


def test_the_command_line_prints_two_tables(capsys) -> None:
    made = [Score.from_plain(row) for row in rows("hard", "soft")]
    print_scores(made)
    out = capsys.readouterr().out
    first, second = out.split("Networks that learned soft labels")
    assert first.count("DANCE") == second.count("DANCE") == 1
    assert "Do not compare hard with soft labels" in second
    print_scores(made[:2])
    assert "soft" not in capsys.readouterr().out
