"""The page of a bench: its tables, charts and files are those of results.json."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from dance.core.errors import ArtifactError
from dance.report import build
from dance.report.bench import content, read_bench
from dance.report.charts import Point, pareto, point_chart
from unit.report.test_page import HOSTILE, Page

MADE = runpy.run_path(str(Path(__file__).with_name("synthetic_bench.py")))
rows, row, write_bench = (MADE[name] for name in ("rows", "row", "write_bench"))


def test_what_cannot_be_compared_is_never_in_one_table(tmp_path):
    shown = content(read_bench(write_bench(tmp_path, rows())))
    groups = [(dict(group.common), len(group.rows)) for group in shown["groups"]]
    assert [count for _, count in groups] == [4, 4, 3, 3, 2]  # with that of the whole set
    assert groups[-1][0]["labels"] == "soft"
    page = Page(build(tmp_path).read_text(encoding="utf-8"))
    assert [len(table) - 1 for table in page.tables[:5]] == [4, 4, 3, 3, 2]
    assert page.tables[0][-1][0].startswith("Whole set")


def test_the_table_shows_numbers_titles_intervals_and_published_ones(tmp_path):
    page = Page(build(write_bench(tmp_path, rows())).read_text(encoding="utf-8"))
    head, first, second = (
        [cell.replace("\N{MINUS SIGN}", "-") for cell in line] for line in page.tables[0][:3]
    )
    assert head[:2] == ["Method", "Accuracy %"]
    assert first[0] == "DANCE40 steps ·seed0" and first[1] == "71.069.5 to 72.5"
    assert first[head.index("Published %")] == "73.0 ± 0.3ours -2.0"
    assert second[head.index("Difference")] == "-5.0-8.0 to -2.0worse"
    assert {"href": "cells/digits-dance-ipc1-seed0/"} in page.all("a")
    assert {"href": "results.md"} in page.all("a") and {"href": "results.csv"} not in page.all("a")
    assert "Left out of the whole plan: ipc 50; data cifar100." in page.text
    assert page.tables[-1][1:] == [
        ["digits-idm-ipc1-seed0", "idm", "failed", "no <b>memory</b>"],
        ["digits-idm-ipc10-seed0", "idm", "not run", ""],
    ]
    assert "dance bench plan.yaml --quick" in page.text


def test_columns_that_the_page_does_not_know_are_shown(tmp_path):
    found = [row("digits", 1, "dance", 50.0, label_robust=0.25), row("digits", 1, "dm", 40.0)]
    page = Page(build(write_bench(tmp_path, found)).read_text(encoding="utf-8"))
    place = page.tables[0][0].index("Label robust")
    assert [line[place] for line in page.tables[0][1:]] == ["0.25", ""]


def test_results_of_another_kind_are_a_table(tmp_path):
    time = {"data": "digits", "ipc": 1, "method": "dm", "status": "done", "runs": "x"}
    rows = [time | {"step_seconds": value, "method": method} for value, method in TIMES]
    page = Page(build(write_bench(tmp_path, rows)).read_text(encoding="utf-8"))
    assert page.tables == [[["Method", "Step seconds"], ["dm", "250.0 ms"], ["dc", "2.0 s"]]]
    assert "data: digits" in page.text and "ipc: 1" in page.text


TIMES = ((0.25, "dm"), (2.0, "dc"))


def test_the_figure_of_a_bench_is_on_its_page(tmp_path):
    write_bench(tmp_path, [])
    assert "No cell has a result yet." in Page(build(tmp_path).read_text(encoding="utf-8")).text
    (tmp_path / "figure.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    page = Page(build(tmp_path).read_text(encoding="utf-8"))
    (picture,) = page.all("img")
    assert picture["src"].startswith("data:image/svg+xml;base64,")
    assert not page.tables


def test_hostile_text_stays_text(tmp_path):
    found = [row("digits", 1, "dance", 50.0, point=text, budget=text) for text in HOSTILE]
    write_bench(tmp_path, found, classes=HOSTILE)
    plain = json.loads((tmp_path / "results.json").read_text())
    plain["plan"] |= {"title": HOSTILE[0], "left_out": HOSTILE[1], "settings": {"a": HOSTILE[2]}}
    plain["command"] = HOSTILE[0]
    for each in plain["rows"]:
        each["runs"] += " javascript:alert(1) ../../x"
    (tmp_path / "results.json").write_text(json.dumps(plain))
    page = Page(build(tmp_path).read_text(encoding="utf-8"))
    assert len(page.all("script")) == 1
    assert not [name for _, found in page.elements for name in found if name.startswith("on")]
    assert all(a["href"][:6] in ("cells/", "result") or a["href"][0] == "#" for a in page.all("a"))


@pytest.mark.parametrize(
    "text", ["[]", '{"plan": {}, "rows": 1}', '{"plan": {}, "rows": [3]}',
             '{"plan": {}, "rows": [{"accuracy": "high"}]}', "{"]
)  # fmt: skip
def test_damaged_results_are_named(tmp_path, text):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"results\.json"):
        build(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_a_bench_that_has_not_ended_is_named(tmp_path):
    (tmp_path / "bench.yaml").write_text("title: x")
    with pytest.raises(ArtifactError, match=r"must hold results\.json"):
        build(tmp_path)


def test_marks_are_where_a_ruler_says():
    points = [
        Point(0, "a", 1.0, 50.0, (40.0, 60.0)),
        Point(0, "a", 100.0, 70.0),
        Point(1, "b", 10.0, 90.0, hollow=True),
    ]
    chart = point_chart("t", "s", points, "ipc", "{:g}".format, joined=False)
    first, second, third = chart.marks
    assert chart.x_label == "ipc (log scale)"
    assert third.x == pytest.approx((first.x + second.x) / 2, abs=0.02)
    assert third.y < second.y < first.y and third.hollow
    assert [tick.text for tick in chart.x_ticks] == ["1", "10", "100"]
    bottom, top = (float(chart.y_ticks[k].text) for k in (0, -1))
    assert first.y == pytest.approx(100 * (top - 50) / (top - bottom), abs=0.01)
    assert first.interval == pytest.approx(
        [100 * (top - y) / (top - bottom) for y in (40, 60)], abs=0.01
    )
    (line,) = chart.lines
    assert line.subject == "front" and line.path.startswith(f"M{first.x:g} {first.y:g}H")


def test_the_front_is_what_nothing_surpasses():
    points = [(3.0, 60.0), (1.0, 50.0), (2.0, 50.0), (2.0, 70.0), (1.0, 40.0), (9.0, 71.0)]
    front = {points[k] for k in pareto(points)}
    better = lambda one, other: one != other and one[0] <= other[0] and one[1] >= other[1]  # noqa: E731
    assert front == {p for p in points if not any(better(q, p) for q in points)}


def test_an_axis_never_makes_noise_look_like_a_difference():
    points = [Point(0, "a", 1.0, 51.9), Point(0, "a", 2.0, 51.91)]
    chart = point_chart("t", "s", points, "ipc", "{:g}".format, joined=True)
    assert abs(chart.marks[0].y - chart.marks[1].y) < 1
