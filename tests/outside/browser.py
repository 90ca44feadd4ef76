"""A headless Chromium, driven over its DevTools protocol: open, wait, click, read, take a picture.

Chromium is a package of the system (`apt-get install chromium`); websocket-client comes with Airflow's Kubernetes
provider.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import websocket

__all__ = ["MISSING", "Browser", "open_browser", "program"]

MISSING = "no Chromium here; install the package chromium"
SECONDS = 120.0
"""For what a page is to show; a busy machine takes tens of them for Airflow's first page."""
WIDTH, HEIGHT = 1280, 4000
"""Airflow's pages hold only those lines of a log that can be seen."""


def program() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browser:
    """One tab."""

    def __init__(self, address: str) -> None:
        self._socket = websocket.create_connection(address, timeout=SECONDS, suppress_origin=True)
        self._numbers = itertools.count(1)
        self.send("Page.enable")
        self._size(HEIGHT)

    def _size(self, height: int) -> None:
        size = {"width": WIDTH, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", **size)

    def close(self) -> None:
        self._socket.close()

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command; its result. Events are passed over."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                result: dict[str, Any] = message["result"]
                return result

    def open(self, url: str) -> None:
        self.send("Page.navigate", url=url)

    def value(self, expression: str) -> Any:
        """Of a JavaScript expression; None while the page has none, for example between two pages."""
        found = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        return found["result"].get("value")

    def text(self) -> str:
        """What the page shows, as text."""
        return str(self.value("document.body ? document.body.innerText : ''") or "")

    def until(self, expression: str, *, seconds: float = SECONDS) -> Any:
        """Wait until an expression is true; its value."""
        deadline = time.monotonic() + seconds
        while not (found := self.value(expression)):
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{expression} is {found!r} after {seconds:.0f} s; the page says:\n{self.text()}"
                )
            time.sleep(0.2)
        return found

    def until_text(self, *texts: str, seconds: float = SECONDS) -> None:
        """Wait until the page shows all of these."""
        for text in texts:
            self.until(
                f"document.body && document.body.innerText.includes({json.dumps(text)})", seconds=seconds
            )

    def fill(self, selector: str, text: str) -> None:
        """Type into a field."""
        self.until(f"!!document.querySelector({json.dumps(selector)})")
        self.value(f"document.querySelector({json.dumps(selector)}).focus()")
        self.send("Input.insertText", text=text)

    def click(self, selector: str, text: str = "") -> None:
        """Press the mouse on the first element of the selector that shows the text and has a size."""
        found = self.until(
            f"""(() => {{
              for (const each of document.querySelectorAll({json.dumps(selector)})) {{
                if (!each.innerText.trim().startsWith({json.dumps(text)})) continue;
                each.scrollIntoView({{block: "center"}});
                const box = each.getBoundingClientRect();
                if (box.width && box.height) return {{x: box.x + box.width / 2, y: box.y + box.height / 2}};
              }}
              return null;
            }})()"""
        )
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **found)

    def click_until(self, selector: str, text: str, expression: str) -> None:
        """Press until it has taken effect: what still moves slips away under the mouse."""
        deadline = time.monotonic() + SECONDS
        while True:
            self.click(selector, text)
            try:
                self.until(expression, seconds=10)
                return
            except TimeoutError:
                if time.monotonic() > deadline:
                    raise

    def picture(self, path: Path, height: int) -> None:
        """Store what is to be seen on a screen as a PNG file, once nothing moves any more, or after 3 s."""
        self._size(height)
        moving = "each.playState === 'running' && isFinite(each.effect.getComputedTiming().endTime)"
        with contextlib.suppress(TimeoutError):
            # Some things are said to move and do not.
            self.until(f"!document.getAnimations().some(each => {moving})", seconds=3)
        found = self.send("Page.captureScreenshot", format="png")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(found["data"]))
        self._size(HEIGHT)


@contextlib.contextmanager
def open_browser(directory: Path) -> Iterator[Browser]:
    """A browser with a profile of its own in the directory; gone after the block."""
    command = program()
    if command is None:
        raise RuntimeError(MISSING)
    words = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    words += ["--hide-scrollbars", "--remote-debugging-port=0", f"--user-data-dir={directory}", "about:blank"]
    with (directory / "browser.log").open("wb") as log:
        process = subprocess.Popen(
            [command, *words], stdout=log, stderr=log, env={"HOME": str(directory), "PATH": "/usr/bin:/bin"}
        )
    try:
        browser = Browser(_address(directory, process))
        try:
            yield browser
        finally:
            browser.close()
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _address(directory: Path, process: subprocess.Popen[bytes]) -> str:
    """Of the first tab."""
    deadline = time.monotonic() + SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError, StopIteration):
            port = int((directory / "DevToolsActivePort").read_text().splitlines()[0])
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=10) as answer:
                pages = json.load(answer)
            return str(next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page"))
        time.sleep(0.1)
    raise RuntimeError(f"Chromium did not start: {(directory / 'browser.log').read_text()[-2000:]}")
