"""The book builds from nothing without one warning, and its pages hold together in a browser.

Slow, a minute or two: the whole book is built once, and each page is opened in a real Chromium.
The browser tests need Chromium or Chrome, and skip, saying so, where neither is installed.
"""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from browsing import open_tab, serious_faults

ROOT = Path(__file__).parents[2]
PHONE, DESK = {"width": 360, "height": 740}, {"width": 1280, "height": 800}
HARMLESS = "invalid theme mode"  # the theme says so on a reader's first visit
LAB = "labs/00_first_caption.html"  # the lab whose viewer is tried
TRY = "book/try-it.html"
LIGHT = 3_000_000  # bytes of the front page and of those with the captioner
# Pages of every layout. Reading the contrast of a page takes axe long, so only these are read; what
# else axe looks for is looked for on all pages.
LAYOUTS = [
    "book/intro.html", "book/task-and-paper.html", LAB, TRY, "book/results.html",
    "book/bibliography.html", "search.html", "_modules/labkit/files.html",
]  # fmt: skip
LOOK = """() => ({
  heading: document.querySelector("h1")?.innerText ?? "",
  silent: [...document.querySelectorAll("img")].filter(i => !i.alt.trim()).map(i => i.src),
  unloaded: [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src),
  links: [...document.querySelectorAll("a[href]")].map(a => a.href),
  ids: [...document.querySelectorAll("[id]")].map(e => e.id),
  maths: document.querySelectorAll(".math").length,
  drawn: document.querySelectorAll(".math mjx-container").length,
  scripts: [...document.scripts].map(s => s.src),
  size: [...performance.getEntriesByType("resource"), ...performance.getEntriesByType("navigation")]
    .reduce((sum, entry) => sum + entry.encodedBodySize, 0),
})"""


@dataclass
class Page:
    """What was seen of one page in the browser."""

    title: str
    look: dict
    complaints: list[str]
    refused: list[str]  # addresses outside that it asked for
    width: int  # on a phone
    faults: list[str]  # found by axe
    size: int  # bytes that it loads, itself included
    scripts: list[str]  # their addresses


@dataclass
class Crawl:
    """All pages by address."""

    site: str
    pages: dict[str, Page] = field(default_factory=dict)


@dataclass
class Built:
    """How building the book went."""

    html: Path  # the folder of its pages
    said: str
    code: int


@pytest.fixture(scope="session")
def build(tmp_path_factory) -> Built:
    """The book, built from nothing beside the project."""
    out = tmp_path_factory.mktemp("book")
    subprocess.run([sys.executable, "book/prepare.py"], cwd=ROOT, check=True, timeout=600)
    tool = Path(sys.executable).with_name("jupyter-book")
    run = subprocess.run(
        [tool, "build", ".", "--path-output", out, "-W", "-n", "--keep-going"],
        cwd=ROOT,
        env=os.environ | {"NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1000,
    )
    return Built(out / "_build" / "html", run.stdout, run.returncode)


@pytest.fixture(scope="session")
def site(build) -> Iterator[str]:
    """The address of the built book, served on this machine."""
    if not (build.html / "index.html").exists():
        pytest.fail(f"no book was built:\n{build.said[-2000:]}")

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=build.html))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="module")
def crawl(build, site, browser) -> Crawl:
    """The book's pages, each opened once in a browser that can reach nothing but the book.

    Of the pages of source code, which one program makes in one layout, every fourth.
    """
    seen = Crawl(site)
    context = browser.new_context(reduced_motion="reduce", viewport=DESK)
    found = sorted(file.relative_to(build.html).as_posix() for file in build.html.rglob("*.html"))
    code = [path for path in found if path.startswith("_modules/")]
    left_out = {*code} - {*code[::4], *LAYOUTS}
    for path in found:
        if not path.startswith("_static/") and path not in left_out:
            seen.pages[site + path] = visit(context, site, path)
    context.close()
    return seen


def visit(context, site: str, path: str) -> Page:
    """Open one page and look at it."""
    is_code = path.startswith("_modules/")
    tab, complaints, refused = open_tab(context, (site,))
    tab.goto(site + path, wait_until="load")  # the network may be idle before a page is parsed
    if not is_code:
        tab.wait_for_load_state("networkidle")
    look, faults = tab.evaluate(LOOK), []
    if path in LAYOUTS or not is_code:
        faults += serious_faults(tab, rules={"color-contrast": {"enabled": False}})
    tab.add_style_tag(content="* { transition: none !important }")  # colours change at once
    for theme in ("light", "dark") if path in LAYOUTS else ():
        tab.evaluate("theme => { document.documentElement.dataset.theme = theme }", theme)
        faults += serious_faults(tab, runOnly=["color-contrast", "link-in-text-block"])
    tab.set_viewport_size(PHONE)
    width = tab.evaluate("document.documentElement.scrollWidth")
    page = Page(
        tab.title(), look, complaints, refused, width, faults, look["size"], look["scripts"]
    )
    tab.close()
    return page


def test_the_book_builds_from_nothing_without_a_warning(build):
    warnings = [line for line in build.said.splitlines() if "WARNING" in line or "ERROR" in line]
    assert not warnings
    assert build.code == 0, build.said[-2000:]
    assert (build.html / "book" / "intro.html").exists()


def test_every_chapter_and_lab_is_in_the_contents():
    listed = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    pages = [*ROOT.glob("book/*.md"), *ROOT.glob("book/*.rst"), *ROOT.glob("labs/*.ipynb")]
    missing = [
        page.name
        for page in pages
        if f": {page.relative_to(ROOT).with_suffix('').as_posix()}\n" not in listed
    ]
    assert pages and not missing


def test_no_page_complains_in_the_console(crawl):
    complaints = {
        address: [text for text in page.complaints if HARMLESS not in text]
        for address, page in crawl.pages.items()
    }
    assert crawl.pages
    assert not {address: texts for address, texts in complaints.items() if texts}


def test_no_request_leaves_the_machine(crawl):
    asked = {address: page.refused for address, page in crawl.pages.items() if page.refused}
    assert crawl.pages and not asked


def test_every_page_has_its_title_and_heading(crawl):
    for address, page in crawl.pages.items():
        assert page.title, address
        if "/book/" in address or "/labs/" in address:
            assert page.look["heading"].strip("# \n"), address
    assert any("The task and the paper" in page.title for page in crawl.pages.values())


def test_every_image_is_there_and_has_a_text_in_its_place(crawl):
    silent = {a: page.look["silent"] for a, page in crawl.pages.items() if page.look["silent"]}
    broken = {a: page.look["unloaded"] for a, page in crawl.pages.items() if page.look["unloaded"]}
    assert not silent
    assert not broken


def test_every_formula_is_drawn(crawl):
    assert sum(page.look["maths"] for page in crawl.pages.values()) > 10
    for address, page in crawl.pages.items():
        assert page.look["drawn"] == page.look["maths"], address


def test_every_link_inside_the_book_leads_somewhere(crawl, build):
    broken = []
    for address, page in crawl.pages.items():
        inside = [link for link in page.look["links"] if link.startswith(crawl.site)]
        lost = [link for link in inside if not leads_somewhere(link, crawl, build.html)]
        broken += [f"{address} -> {link}" for link in lost]
    assert not broken


def test_axe_finds_nothing_serious_in_either_theme(crawl):
    missing = [path for path in LAYOUTS if crawl.site + path not in crawl.pages]
    assert not missing
    faults = {address: page.faults for address, page in crawl.pages.items() if page.faults}
    assert not faults


def test_no_page_is_wider_than_a_phone(crawl):
    wide = {a: p.width for a, p in crawl.pages.items() if p.width > PHONE["width"]}
    assert not wide


def test_every_lab_can_be_taken_along_as_a_notebook(crawl):
    labs = {a: p for a, p in crawl.pages.items() if a.startswith(f"{crawl.site}labs/")}
    assert len(labs) == len(list(ROOT.glob("labs/*.ipynb")))
    for address, page in labs.items():
        name = Path(address).with_suffix(".ipynb").name
        assert any(link.endswith(f"/{name}") for link in page.look["links"]), address


@pytest.fixture
def reader(browser, site):
    """A reader's tab on the book; in the end the book has not complained."""
    context = browser.new_context(reduced_motion="reduce", viewport=DESK)
    tab, complaints, refused = open_tab(context, (site,))
    yield tab
    context.close()
    assert not [text for text in complaints if HARMLESS not in text] + refused


def test_search_finds_attention(reader, site):
    reader.goto(f"{site}index.html", wait_until="networkidle")
    reader.goto(f"{site}book/intro.html", wait_until="networkidle")
    reader.keyboard.press("Control+k")
    reader.locator("input[name=q]:focus").wait_for()
    reader.keyboard.type("attention")
    reader.keyboard.press("Enter")
    reader.wait_for_url(re.compile(r"/search\.html\?q=attention$"))
    first = reader.locator("#search-results li a").first
    first.wait_for()
    reader.get_by_text("Search finished").wait_for()
    assert reader.locator("#search-results li").count() > 2
    first.click()
    reader.wait_for_url(lambda address: "/search.html" not in address)  # and until it has loaded
    reader.locator("main").get_by_text(re.compile("attention", re.IGNORECASE)).first.wait_for()


def test_the_viewer_in_a_lab(reader, site):
    reader.goto(site + LAB, wait_until="networkidle")
    viewer = reader.locator(".attention-viewer").first
    says, word = viewer.get_by_role("status").first, viewer.get_by_role("radio")
    assert "picture alone" in says.inner_text()
    word.nth(1).hover()
    assert says.inner_text().startswith(f"soft {word.nth(1).inner_text()}: looks ")
    word.nth(1).click()
    reader.keyboard.press("ArrowRight")
    assert says.inner_text().startswith(f"soft {word.nth(2).inner_text()}: looks ")
    assert reader.evaluate("document.activeElement.textContent") == word.nth(2).inner_text()
    assert word.first.bounding_box()["width"] < 60  # words in a line, not one a line

    theme = lambda: reader.evaluate("document.documentElement.dataset.theme")  # noqa: E731
    for _ in range(3):  # the button goes round: by the system, light, dark
        if theme() == "dark":
            break
        before = reader.evaluate("document.documentElement.dataset.mode")
        reader.locator(".theme-switch-button:visible").click()
        assert reader.evaluate("document.documentElement.dataset.mode") != before
    assert theme() == "dark"
    around = reader.locator(".text_html", has=viewer).first
    ground = around.evaluate("e => getComputedStyle(e).backgroundColor")
    assert ground == "rgba(0, 0, 0, 0)"  # the page's own, no light box in a dark page
    assert not serious_faults(reader, ".attention-viewer", runOnly=["color-contrast"])
    reader.set_viewport_size(PHONE)
    box = viewer.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= PHONE["width"]


def test_a_page_is_light_until_a_photograph_is_dropped(crawl):
    """Without compression: a web space that compresses sends a third of it."""
    with_captioner = [a for a, p in crawl.pages.items() if any("/tell/" in s for s in p.scripts)]
    assert with_captioner == [crawl.site + TRY, crawl.site + LAB]
    first = [crawl.site + "index.html", crawl.site + "book/intro.html"]
    heavy = {a: crawl.pages[a].size for a in first + with_captioner if a in crawl.pages}
    assert len(heavy) > 2 and max(heavy.values()) < LIGHT, heavy
    assert not [s for page in crawl.pages.values() for s in page.scripts if "/weights/" in s]


def test_the_front_page_begins_with_a_picture_that_moves(reader, site):
    reader.goto(f"{site}book/intro.html", wait_until="networkidle")
    viewer, button = reader.locator(".moving-viewer"), reader.locator(".moving-pause")
    assert reader.evaluate("""() => {
      const prose = document.querySelector("article section > p");
      const viewer = document.querySelector("article section > .moving-viewer");
      return Boolean(viewer.compareDocumentPosition(prose) & Node.DOCUMENT_POSITION_FOLLOWING);
    }""")
    says = lambda: viewer.get_by_role("status").inner_text()  # noqa: E731
    assert "picture alone" in says() and button.inner_text() == "Play the words"  # reduced motion
    reader.emulate_media(reduced_motion="no-preference")
    reader.reload(wait_until="networkidle")
    assert button.inner_text() == "Pause" and viewer.locator("[aria-live=off]").count()
    seen = set()
    for _ in range(100):
        seen.add(says())
        if len(seen) > 1:
            break
        reader.wait_for_timeout(100)
    assert len(seen) > 1
    viewer.get_by_role("radio").nth(1).hover()
    assert button.inner_text() == "Play the words" and "soft man: looks" in says()
    reader.wait_for_timeout(2000)
    assert "soft man: looks" in says() and not viewer.locator("[aria-live=off]").count()


def test_a_photograph_in_the_book_is_captioned_by_both_models(reader, site):
    reader.goto(site + TRY, wait_until="networkidle")
    reader.locator(".tell-example").nth(1).click()
    viewer = reader.locator(".tell-result .attention-viewer")
    viewer.get_by_role("radio", name="camera").first.click()
    assert reader.locator(".tell-candidate").count() == 5
    reader.locator(".tell-cell").nth(9).click()
    reader.locator(".tell-from-there .attention-viewer").wait_for()
    for theme in ("light", "dark"):
        reader.evaluate("theme => { document.documentElement.dataset.theme = theme }", theme)
        assert not serious_faults(reader, ".try-captioner")
    reader.set_viewport_size(PHONE)
    assert reader.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def leads_somewhere(link: str, crawl: Crawl, html: Path) -> bool:
    target, place = urldefrag(link)
    if target in crawl.pages:
        return not place or unquote(place) in crawl.pages[target].look["ids"]
    file = html / unquote(target.removeprefix(crawl.site))
    return file.exists() and (not place or f'id="{unquote(place)}"' in contents(file))


@lru_cache
def contents(file: Path) -> str:
    return file.read_text(encoding="utf-8")
