"""The report in a real browser: quiet, within the window, readable in light and dark, inert."""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dance.report import build

HERE = Path(__file__).parent
PHONE, LAPTOP = 390, 1280
HOSTILE = (
    "<script>window.ran=1</script>",
    '"><img src=x onerror="window.ran=1">',
    "</style><svg onload='window.ran=1'>",
    "'; window.ran=1; '",
    "averyveryverylongclassnamewithoutanyplacetobreakit" * 6,
    "\u202eright to left \u0645\u0631\u062d\u0628\u0627",
)

CONTRAST = """(() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently:
  true}); const solid = text => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = text;
    canvas.fillRect(0, 0, 1, 1);
    const d = canvas.getImageData(0, 0, 1, 1).data;
    return [d[0], d[1], d[2], d[3] / 255]; };
  const light = c => c.slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = node => { for (; node; node = node.parentElement) {
    const c = solid(getComputedStyle(node).backgroundColor); if (c[3] > 0.99) return c; }
    return solid('white'); };
  let worst = [99, ''];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text; (text = walk.nextNode());) {
    const node = text.parentElement;
    if (!text.data.trim() || !node.checkVisibility() || node.closest('.hidden')) continue;
    const [a, b] = [light(solid(getComputedStyle(node).color)), light(behind(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < worst[0]) worst = [ratio, text.data.trim().slice(0, 40)];
  }
  return worst;
})()"""
"""The lowest contrast (WCAG 2.2) of visible text against what is behind it, and that text."""

OUTSIDE = """[...document.querySelectorAll('body *')].filter(node => {
  if (node.closest('.scroll, pre, .hidden') && !node.matches('.scroll, pre')) return false;
  const box = node.getBoundingClientRect();
  return box.width && (box.right > innerWidth + 0.5 || box.left < -0.5);
}).map(node => node.outerHTML.slice(0, 80))"""


CLIPPED = """[...document.querySelectorAll('.scroll')].filter(
  node => node.scrollWidth > node.clientWidth + 1).map(node => node.ariaLabel)"""
"""Tables with a column that can only be seen after scrolling."""

BROKEN = """[...document.querySelectorAll('thead th')].flatMap(head =>
  [...head.childNodes].filter(node => node.nodeType == 3).flatMap(node =>
    [...node.data.matchAll(/\\S+/g)].filter(word => {
      const range = document.createRange();
      range.setStart(node, word.index); range.setEnd(node, word.index + word[0].length);
      return new Set([...range.getClientRects()].map(box => box.top)).size > 1;
    }).map(word => word[0])))"""
"""Words in heads of tables that are broken over lines."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    chromium = runpy.run_path(str(HERE / "chromium.py"))
    program = chromium["find"]()
    if program is None:
        pytest.skip("needs Chromium: install it or name it in $CHROMIUM")
    browser = chromium["Browser"](program, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Reports of a usual run, of hostile names, of 200 classes and of a run without scores."""
    made = runpy.run_path(str(HERE.parent / "unit" / "report" / "synthetic_run.py"))
    write, score = made["write_run"], made["score"]
    root = tmp_path_factory.mktemp("reports")
    many = tuple(f"class number {index}" for index in range(200))
    several = [
        score(subject, accuracy, 10, protocol=protocol, network=network, seed=seed)
        for seed, (subject, accuracy, protocol, network) in enumerate(
            [
                ("condensed", 0.8, "dance-v1", "convnet"),
                ("initial", 0.7, "dance-v1", "convnet"),
                ("random", 0.5, "dance-v1", "convnet"),
                ("whole", 0.97, "dance-v1", "convnet"),
                ("condensed", 0.75, "dance-v1", "resnet10"),
                ("condensed", 0.6, "quick-v1", "convnet"),
            ]
        )
    ]
    runs = {
        "usual": write(root / "usual", scores=several, ipc=10, resolution=8),
        "hostile": write(root / "hostile", classes=HOSTILE, notes=HOSTILE, channels=3),
        "many": write(root / "many", classes=many, ipc=1),
        "bare": write(root / "bare", scores=[]),
        "long": write(
            root / "long",
            classes=tuple(f"a long name of class {index}" for index in range(25)),
            channels=3,
        ),
        "photos": write(root / "photos", ipc=10, channels=3, resolution=128),
        "large": write(root / "large", ipc=2, channels=3, resolution=512),
    }
    return {name: build(run) for name, run in runs.items()}


@pytest.mark.parametrize("width", [PHONE, LAPTOP])
@pytest.mark.parametrize("name", ["usual", "hostile", "many", "bare"])
def test_fits_the_window_and_stays_quiet(browser, reports, name, width):
    browser.open(reports[name], width)
    browser.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    assert browser.evaluate("innerWidth") == width
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate(OUTSIDE) == []
    noise = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
    assert browser.named(*noise) == []
    assert browser.named("Page.javascriptDialogOpening") == []
    requests = [event["request"]["url"] for event in browser.named("Network.requestWillBeSent")]
    assert requests[0] == reports[name].as_uri()
    assert all(url.startswith("data:") for url in requests[1:])


@pytest.mark.parametrize("name", ["usual", "hostile", "many", "long", "photos"])
def test_no_column_is_clipped_on_a_laptop_and_no_head_is_broken_on_a_phone(browser, reports, name):
    for width, faults in ((LAPTOP, CLIPPED), (PHONE, BROKEN)):
        browser.open(reports[name], width)
        browser.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
        assert browser.evaluate(faults) == []


def test_a_page_has_at_most_about_a_megabyte(reports):
    sizes = {name: page.stat().st_size for name, page in reports.items()}
    assert max(sizes.values()) < 1_050_000, sizes


def test_a_click_enlarges_an_image_and_another_one_closes_it(browser, reports):
    browser.open(reports["photos"], LAPTOP)
    box = """(box => [box.width, box.height])(
      document.querySelector('.zoom img').getBoundingClientRect())"""
    before = browser.evaluate(box)
    assert before[0] < 200
    browser.evaluate("document.querySelector('#images').scrollIntoView()")
    place = browser.evaluate("scrollY")
    browser.evaluate("document.querySelector('.zoom img').click()")
    assert browser.evaluate(box) == [LAPTOP, 900]
    assert browser.evaluate("scrollY") == place
    browser.evaluate("document.elementFromPoint(innerWidth / 2, innerHeight / 2).click()")
    assert browser.evaluate(box) == before


def test_the_share_of_the_whole_set_is_among_the_tiles(browser, reports):
    browser.open(reports["usual"], LAPTOP)
    tiles = browser.evaluate(
        "[...document.querySelectorAll('.tiles > div')].map(tile => tile.innerText)"
    )
    (share,) = (tile for tile in tiles if tile.startswith("Of the whole set's accuracy"))
    assert re.search(r"\n8\d\.\d\s%\n", share), share


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_is_readable(browser, reports, dark):
    browser.open(reports["usual"], LAPTOP, dark=dark)
    browser.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    paper = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, paper.strip("rgb()").split(","))) < 200) == dark
    ratio, text = browser.evaluate(CONTRAST)
    assert ratio >= 4.5, f"{text!r} has a contrast of {ratio:.2f}"


def test_hostile_names_do_not_run(browser, reports):
    browser.open(reports["hostile"], LAPTOP)
    assert browser.evaluate("typeof window.ran") == "undefined"
    assert browser.evaluate("document.querySelectorAll('script, iframe, object').length") == 0
    handlers = "[...node.attributes].some(attribute => attribute.name.startsWith('on'))"
    found = f"[...document.querySelectorAll('*')].some(node => {handlers})"
    assert browser.evaluate(found) is False
    shown = browser.evaluate(
        "[...document.querySelectorAll('.gallery [role=group] > .name')].map(n => n.textContent)"
    )
    assert shown == list(HOSTILE)


def test_a_script_that_got_in_would_be_refused(browser, reports, tmp_path):
    page = reports["bare"].read_text(encoding="utf-8")
    place = tmp_path / "report.html"
    place.write_text(page.replace("</main>", "<script>window.ran=1</script></main>"))
    browser.open(place, LAPTOP)
    assert browser.evaluate("typeof window.ran") == "undefined"
    assert browser.named("Log.entryAdded"), "the policy must be what stopped it"


def test_views_of_the_images_switch_without_script(browser, reports):
    browser.open(reports["usual"], LAPTOP)
    seen = """['before', 'after', 'decoded'].filter(part =>
      document.querySelector(`.pictures:not(.heads) .${part}-part img`).checkVisibility())"""
    assert browser.evaluate(seen) == ["before", "after"]
    for view in ("after", "before", "decoded"):
        browser.evaluate(f"document.querySelector('[for=view-{view}]').click()")
        assert browser.evaluate(seen) == [view]
    sizes = "[...new Set([...document.images].map(i => `${i.naturalWidth} ${i.complete}`))]"
    assert browser.evaluate(sizes) == ["8 true"]


def test_dots_and_lines_are_drawn_where_they_belong(browser, reports):
    browser.open(reports["usual"], LAPTOP)
    inside = """[...document.querySelectorAll('.dots .row.series svg')].every(svg => {
      const frame = svg.getBoundingClientRect();
      return [...svg.querySelectorAll('circle')].every(dot => {
        const box = dot.getBoundingClientRect();
        return box.width > 5 && box.left >= frame.left - 8 && box.right <= frame.right + 8; });
    })"""
    assert browser.evaluate(inside) is True
    assert browser.evaluate("document.querySelectorAll('.dots circle').length") == 6 * 3
    heights = """[...document.querySelectorAll('.chart .line')].map(
      line => line.getBoundingClientRect().height)"""
    drawn = [height for height in browser.evaluate(heights) if height > 20]
    assert len(drawn) == 2 + 6, "two losses and six accuracy curves"
