"""The book builds from nothing without one warning, and its pages hold together in a browser.

Slow, a minute or two: the whole book is built once, and each page is opened in a real Chromium.
The browser tests need Chromium or Chrome, and skip, saying so, where neither is installed.
"""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

ROOT = Path(__file__).parents[1]
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
HARMLESS = "invalid theme mode"  # the theme says so on a reader's first visit
LOOK = """() => ({
  heading: document.querySelector("h1")?.innerText ?? "",
  silent: [...document.querySelectorAll("img")].filter(i => !i.alt.trim()).map(i => i.src),
  unloaded: [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src),
  links: [...document.querySelectorAll("a[href]")].map(a => a.href),
  ids: [...document.querySelectorAll("[id]")].map(e => e.id),
  maths: document.querySelectorAll(".math").length,
  drawn: document.querySelectorAll(".math mjx-container").length,
})"""


@dataclass
class Page:
    """What was seen of one page in the browser."""

    title: str
    look: dict
    complaints: list[str] = field(default_factory=list)


@dataclass
class Crawl:
    """All pages by address, and each address that was asked for."""

    site: str
    pages: dict[str, Page] = field(default_factory=dict)
    requests: set[str] = field(default_factory=set)


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
    tool = Path(sys.executable).with_name("jupyter-book")
    run = subprocess.run(
        [tool, "build", ".", "--path-output", out, "-W", "-n", "--keep-going"],
        cwd=ROOT,
        env=os.environ | {"NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
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


@pytest.fixture(scope="session")
def crawl(build, site) -> Crawl:
    """Every page of the book, opened once in a browser that can reach nothing but the book."""
    browsers = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = next(filter(None, map(shutil.which, browsers)), None)
    if found is None:
        pytest.skip("needs chromium or google-chrome, and neither is installed")
    from playwright.sync_api import sync_playwright

    seen = Crawl(site)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=QUIET)
        context = browser.new_context()
        context.on("request", lambda request: seen.requests.add(request.url))
        outside = lambda url: not url.startswith((site, "data:", "blob:"))  # noqa: E731
        context.route(outside, lambda route: route.abort())
        for file in sorted(build.html.rglob("*.html")):
            if "_static" not in file.parts:
                address = site + file.relative_to(build.html).as_posix()
                seen.pages[address] = visit(context, address)
        browser.close()
    return seen


def visit(context, address: str) -> Page:
    """Open one page and look at it."""
    complaints: list[str] = []
    tab = context.new_page()
    tab.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("response", lambda r: complaints.append(f"{r.status} {r.url}") if r.status > 399 else 0)
    tab.goto(address, wait_until="load" if "/_modules/" in address else "networkidle")
    page = Page(tab.title(), tab.evaluate(LOOK), complaints)
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
    inside = (crawl.site, "data:", "blob:")
    assert any(url.startswith(crawl.site) for url in crawl.requests)
    assert not [url for url in crawl.requests if not url.startswith(inside)]


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
        for link in page.look["links"]:
            if link.startswith(crawl.site) and not leads_somewhere(link, crawl, build.html):
                broken.append(f"{address} -> {link}")
    assert not broken


def leads_somewhere(link: str, crawl: Crawl, html: Path) -> bool:
    target, place = urldefrag(link)
    if target in crawl.pages:
        return not place or unquote(place) in crawl.pages[target].look["ids"]
    return (html / unquote(target.removeprefix(crawl.site))).exists()
