"""A real Firefox without a window, driven by WebDriver BiDi, the protocol that it speaks itself.

Playwright's own Firefox is a build that it must download, and Selenium needs geckodriver. This
needs neither: a WebSocket carries JSON both ways (https://w3c.github.io/webdriver-bidi). Every wait
has an end, and at the end of the block all of Firefox's processes are killed.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from waiting import until
from websocket import WebSocket, WebSocketTimeoutException, create_connection

NAMES = ("firefox-esr", "firefox")
PATIENCE = 120  # s: a busy machine is no fault of a page
EVENTS = [
    "log.entryAdded", "script.message",
    "network.beforeRequestSent", "network.responseCompleted", "network.fetchError",
]  # fmt: skip
# What a Content-Security-Policy forbids is not in the log, and of file:// no request is an event:
# a script of our own listens for both.
WATCH = """(tell) => {
  addEventListener("securitypolicyviolation", (event) =>
    tell(`${event.violatedDirective} forbids ${event.blockedURI}`));
  addEventListener("error", ({target}) => {
    const address = target.src || target.href;
    if (address) tell(`${address} cannot be loaded`);
  }, true);
}"""
CALL = """async (text) => {
  const given = (%s);
  const value = await (typeof given === "function" ? given(JSON.parse(text)) : given);
  return JSON.stringify(value === undefined ? null : value);
}"""


class FirefoxError(Exception):
    """What Firefox answers when a command or a script of a page fails."""


def program() -> str | None:
    """Where Firefox is; None if it is not installed."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Firefox:
    """A tab of a running Firefox.

    Attributes:
        complaints: Errors in the console, uncaught ones, what a policy forbids, and what cannot be
            loaded, since the tab was opened. Grows while the tab is used.
        requests: The addresses of all requests but those of file://, likewise.
    """

    def __init__(self, socket: WebSocket, patience: float = PATIENCE):
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.patience = patience
        self._socket, self._number = socket, 0
        self.send("session.new", capabilities={})
        self._tab = self.send("browsingContext.getTree")["contexts"][0]["context"]
        self.open("about:blank")  # Firefox's own first page is no concern of a test
        channel = {"type": "channel", "value": {"channel": "watch"}}
        # In a sandbox: in the page itself, Firefox 140 now and then logs an error that is its own.
        watch = {"functionDeclaration": WATCH, "arguments": [channel], "sandbox": "watch"}
        self.send("script.addPreloadScript", **watch)
        self.send("session.subscribe", events=EVENTS, contexts=[self._tab])

    def open(self, url: str) -> None:
        """Go to a page, and wait until it is loaded."""
        self.send("browsingContext.navigate", context=self._tab, url=url, wait="complete")

    def resize(self, width: int, height: int) -> None:
        """Give the page another size, in CSS pixels."""
        size = {"width": width, "height": height}
        self.send("browsingContext.setViewport", context=self._tab, viewport=size)

    def evaluate(self, script: str, value: Any = None, patience: float | None = None) -> Any:
        """Compute something in the page, also where its policy forbids eval.

        Args:
            script: An expression, or a function, async or not, that is called with ``value``.
            value: Anything JSON-able.
            patience: Seconds to wait for a promise, if not as long as for all else.

        Returns:
            The value, made by JSON: None for undefined, a list for an array.

        Raises:
            FirefoxError: The script threw, or it gave no value in time.
        """
        answer = self.send(
            "script.callFunction", patience, functionDeclaration=CALL % script, awaitPromise=True,
            target={"context": self._tab}, userActivation=True,
            arguments=[{"type": "string", "value": json.dumps(value)}],
        )  # fmt: skip
        if answer["type"] == "exception":
            raise FirefoxError(answer["exceptionDetails"]["text"])
        return json.loads(answer["result"]["value"])

    def set_files(self, selector: str, *files: str | Path) -> None:
        """Choose files in an ``<input type=file>``, named by a CSS selector, as a reader would."""
        css = {"type": "css", "value": selector}
        nodes = self.send("browsingContext.locateNodes", context=self._tab, locator=css)["nodes"]
        if not nodes:
            raise FirefoxError(f"there is no {selector} in the page")
        paths = [str(Path(file).resolve()) for file in files]
        element = {"sharedId": nodes[0]["sharedId"]}
        self.send("input.setFiles", context=self._tab, element=element, files=paths)

    def send(self, method: str, patience: float | None = None, **params: Any) -> dict[str, Any]:
        """Send any command of the protocol, and wait for its answer; events are noted meanwhile.

        Raises:
            FirefoxError: The command failed, or there was no answer in time.
        """
        self._number += 1
        ends = time.monotonic() + (patience or self.patience)
        self._socket.settimeout(self.patience)
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while (left := ends - time.monotonic()) > 0:
            self._socket.settimeout(left)
            with suppress(WebSocketTimeoutException):
                message = json.loads(self._socket.recv())
                if message["type"] == "event":
                    self._note(message["method"], message["params"])
                elif message.get("id") == self._number:
                    if message["type"] == "error":
                        raise FirefoxError(f"{message['error']}: {message['message']}")
                    return message["result"]
        raise FirefoxError(f"{method} has not ended after {patience or self.patience:g} s")

    def _note(self, event: str, params: dict[str, Any]) -> None:
        """Keep what an event says, if it is a request or a complaint."""
        if event == "log.entryAdded" and params["level"] == "error":
            self.complaints.append(params["text"] or "an error without a text")
        elif event == "script.message" and params["channel"] == "watch":
            self.complaints.append(params["data"]["value"])
        elif event == "network.beforeRequestSent":
            self.requests.append(params["request"]["url"])
        elif event == "network.responseCompleted" and params["response"]["status"] > 399:
            self.complaints.append(f"{params['response']['status']} {params['request']['url']}")
        elif event == "network.fetchError":
            self.complaints.append(f"{params['errorText']} {params['request']['url']}")


@contextmanager
def firefox(patience: float = PATIENCE) -> Iterator[Firefox]:
    """Start Firefox with a profile of its own, and end it with the block.

    Args:
        patience: Seconds that the start, and then each command, may take.

    Raises:
        FileNotFoundError: Firefox is not installed.
        AssertionError: It does not start in time.
    """
    found = program()
    if found is None:
        raise FileNotFoundError(f"none of {', '.join(NAMES)} is installed: install one")
    with TemporaryDirectory(ignore_cleanup_errors=True) as home:
        profile = Path(home) / "profile"
        profile.mkdir()
        command = [found, "--headless", "--no-remote", "--remote-debugging-port=0"]
        running = subprocess.Popen(
            [*command, "--profile", profile], env=os.environ | {"HOME": home},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        try:
            with _connected(profile / "WebDriverBiDiServer.json", running, patience) as socket:
                yield Firefox(socket, patience)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
            running.wait(PATIENCE)


@contextmanager
def _connected(port: Path, running: subprocess.Popen, patience: float) -> Iterator[WebSocket]:
    """Wait until Firefox has written where it listens, and connect."""

    def ready() -> dict[str, Any] | None:
        assert running.poll() is None, f"Firefox ended at once, by {running.returncode}"
        with suppress(FileNotFoundError, ValueError):  # it may be half written
            return json.loads(port.read_text())

    until(ready, "Firefox to start", patience)
    url = "ws://{ws_host}:{ws_port}/session".format(**ready())
    socket = create_connection(url, patience, suppress_origin=True, http_no_proxy=["*"])
    try:
        yield socket
    finally:
        socket.shutdown()
