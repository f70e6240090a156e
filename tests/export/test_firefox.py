"""The tests' own way to drive Firefox: what it sees, and that it always ends."""

import os
import tempfile
import threading
import time
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import firefox as driver
import pytest
from waiting import until

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Small</title>
<link rel="icon" href="data:,">
<meta http-equiv="Content-Security-Policy" content="script-src 'self'">
<input type="file"><script src="script.js"></script>"""
SCRIPT = """window.text = () => document.querySelector("input").files[0].text();
document.querySelector("input").addEventListener("change", (event) => {
  window.chosen = Array.from(event.target.files, (file) => file.name);
});"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with a small page, and its address by http."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "index.html").write_text(PAGE)
    (folder / "script.js").write_text(SCRIPT)
    wrong = "<script>inline</script><script src=gone.js></script><script src=throws.js></script>"
    (folder / "wrong.html").write_text(PAGE + wrong)
    (folder / "throws.js").write_text("console.error('said', 3); throw new Error('thrown');")
    quiet = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("by", ["http", "file"])
def test_a_page_is_read_and_gets_files(firefox, site, by, tmp_path):
    folder, address = site
    base = address if by == "http" else folder.as_uri()
    firefox.open(f"{base}/index.html")
    assert firefox.evaluate("document.title") == "Small"
    assert firefox.evaluate("async (n) => [await n + 1, {half: n / 2}, null]", 3) == [
        4, {"half": 1.5}, None,
    ]  # fmt: skip
    assert firefox.evaluate("() => undefined") is None
    (tmp_path / "größer.txt").write_text("ä" * 1_000_000)
    firefox.set_files("input", tmp_path / "größer.txt")
    assert firefox.evaluate("window.chosen") == ["größer.txt"]
    assert firefox.evaluate("() => window.text()") == "ä" * 1_000_000
    firefox.resize(360, 640)
    assert firefox.evaluate("innerWidth") == 360
    if by == "http":  # of file:// there are no events
        assert {f"{base}/index.html", f"{base}/script.js"} <= set(firefox.requests)
    assert not firefox.complaints


@pytest.mark.parametrize("by", ["http", "file"])
def test_what_is_wrong_with_a_page_is_noted(firefox, site, by):
    folder, address = site
    base = address if by == "http" else folder.as_uri()
    firefox.open(f"{base}/wrong.html")
    firefox.evaluate("() => new Promise((done) => setTimeout(done, 100))")
    noted = "\n".join(firefox.complaints)
    assert "said 3" in noted and "Error: thrown" in noted
    assert "script-src-elem forbids inline" in noted
    assert any(f"{base}/gone.js" in line for line in firefox.complaints)


def test_errors_and_waits_end(firefox):
    firefox.open("about:blank")
    with pytest.raises(driver.FirefoxError, match=r"TypeError: .* is not a function"):
        firefox.evaluate("() => document.nothing()")
    with pytest.raises(driver.FirefoxError, match="no #none in the page"):
        firefox.set_files("#none", __file__)
    begun = time.monotonic()
    with pytest.raises(driver.FirefoxError, match=r"callFunction has not ended after 0\.5 s"):
        firefox.evaluate("new Promise(() => {})", patience=0.5)
    assert time.monotonic() - begun < 30
    assert firefox.evaluate("1 + 1") == 2  # the late answer, if any, is not taken for this one


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux")
def test_nothing_is_left_of_it(firefox, tmp_path, monkeypatch):
    """Also when the block raises. Its processes are known by their home folder."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(ZeroDivisionError), driver.firefox():
        assert processes(tmp_path)
        raise ZeroDivisionError
    until(lambda: not processes(tmp_path), "Firefox to end", 20)
    assert not list(tmp_path.iterdir())


def processes(home: Path) -> list[str]:
    """The processes that were started with this folder in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it may have ended, or be another user's
            if os.fsencode(home) in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_text())
    return found
