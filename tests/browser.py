"""A real Chromium without a window, driven over the DevTools protocol.

Installed (`chromium`, `google-chrome`), or Debian's package unpacked in the user's cache, as CI does.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import aiohttp

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
UNPACKED = Path.home() / ".cache" / "pctstream" / "chromium" / "usr"
LIBRARIES = ("lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu/pulseaudio", "lib/chromium")
WITHIN_S = 30.0
KEYS = {
    "Enter": 13,
    "Escape": 27,
    "Tab": 9,
    "ArrowDown": 40,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "+": 187,
}


def program() -> tuple[str, dict[str, str]] | None:
    """Chromium and the environment it wants; None where there is none."""
    for name in NAMES:
        if found := shutil.which(name):
            return found, dict(os.environ)
    inside = UNPACKED / "lib" / "chromium" / "chromium"
    if not inside.exists():
        return None
    where = ":".join(str(UNPACKED / one) for one in LIBRARIES)
    return str(inside), {**os.environ, "LD_LIBRARY_PATH": where}


class Browser:
    """One process; every page is a tab of its own."""

    def __init__(self, folder: Path) -> None:
        found = program()
        assert found is not None
        words = [found[0], "--headless", "--disable-gpu", "--remote-debugging-port=0", "--no-first-run",
                 "--hide-scrollbars", "--disable-background-networking", "--disable-dev-shm-usage",
                 f"--user-data-dir={folder}", "about:blank"]  # fmt: skip
        if os.geteuid() == 0:
            words.insert(1, "--no-sandbox")
        self._log = (folder.parent / "chromium.log").open("wb")
        self._process = subprocess.Popen(words, env=found[1], stdout=self._log, stderr=self._log)
        self._loop = asyncio.new_event_loop()
        self._number = 0
        self._answers: dict[int, Any] = {}
        self.pages: dict[str, Page] = {}
        told = folder / "DevToolsActivePort"
        deadline = time.monotonic() + WITHIN_S
        while not (told.exists() and len(lines := told.read_text().split()) == 2):
            assert time.monotonic() < deadline, "Chromium has not started"
            time.sleep(0.05)
        self._run(self._connect(f"ws://127.0.0.1:{lines[0]}{lines[1]}"))

    def _run(self, what: Any) -> Any:
        return self._loop.run_until_complete(what)

    async def _connect(self, url: str) -> None:
        self._session = aiohttp.ClientSession()
        self._socket = await self._session.ws_connect(url, max_msg_size=0)

    def call(self, method: str, session: str = "", **params: Any) -> Any:
        """Send a command and read until its answer; what comes meanwhile goes to the pages."""
        return self._run(asyncio.wait_for(self._call(method, session, params), WITHIN_S))

    async def _call(self, method: str, session: str, params: dict[str, Any]) -> Any:
        self._number += 1
        number = self._number
        said = {"id": number, "method": method, "params": params}
        await self._socket.send_json(said | ({"sessionId": session} if session else {}))
        while True:
            told = json.loads((await self._socket.receive()).data)
            if told.get("id") == number:
                assert "error" not in told, told["error"]
                return told["result"]
            if (page := self.pages.get(told.get("sessionId", ""))) is not None:
                page.event(told["method"], told["params"])

    def open(self, url: str, width: int = 1280, height: int = 900, theme: str = "light") -> Page:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self.pages[session] = Page(self, session, target)
        for domain in ("Runtime", "Log", "Page", "Network"):
            page.call(f"{domain}.enable")
        page.look(width, height, theme)
        page.call("Page.navigate", url=url)
        return page

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process; what was open in it is gone."""
        self._run(self._socket.close())
        self._run(self._session.close())
        self._loop.close()
        self._process.terminate()
        self._process.wait(10)
        self._log.close()


class Page:
    """A tab, what it has asked for, and what its console said."""

    def __init__(self, browser: Browser, session: str, target: str) -> None:
        self._browser, self._session, self._target = browser, session, target
        self.requests: list[str] = []
        self.errors: list[str] = []

    def event(self, method: str, params: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(params["exceptionDetails"])[:500])
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(f"{params['entry']['text']} {params['entry'].get('url')}")
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.errors.append(json.dumps(params["args"])[:500])

    def call(self, method: str, **params: Any) -> Any:
        return self._browser.call(method, self._session, **params)

    def look(self, width: int, height: int, theme: str) -> None:
        """From now on with a window of this size, and these colours of the system."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=width < 600)  # fmt: skip
        features = [{"name": "prefers-color-scheme", "value": theme},
                    {"name": "prefers-reduced-motion", "value": "reduce"}]  # fmt: skip
        self.call("Emulation.setEmulatedMedia", features=features)

    def js(self, expression: str) -> Any:
        """The value of an expression in the page (JSON)."""
        got = self.call("Runtime.evaluate", expression=expression, returnByValue=True,
                        awaitPromise=True, userGesture=True)  # fmt: skip
        assert "exceptionDetails" not in got, got["exceptionDetails"]
        return got["result"].get("value")

    def wait(self, expression: str, within_s: float = WITHIN_S) -> Any:
        """The first true value of an expression; True for an element."""
        asked = f"""(() => {{ try {{ const found = ({expression});
          return found instanceof Node ? true : found }} catch {{ return null }} }})()"""
        deadline = time.monotonic() + within_s
        while not (value := self.js(asked)):
            if time.monotonic() > deadline:
                said = self.js("document.body.innerText")
                raise AssertionError(
                    f"not within {within_s} s: {expression}\n{said}\n{self.errors}"
                )
            time.sleep(0.05)
        return value

    def go(self, view: str) -> None:
        """To a view, once it is drawn."""
        self.js(f"location.hash = {json.dumps('#/' + view)}")
        self.wait(
            f"location.hash === {json.dumps('#/' + view)} && !document.querySelector('.bones')"
        )

    def text(self, selector: str) -> str:
        return str(self.wait(f"document.querySelector({json.dumps(selector)}).textContent"))

    def click(self, selector: str) -> None:
        self.wait(f"document.querySelector({json.dumps(selector)}) !== null")
        self.js(f"document.querySelector({json.dumps(selector)}).click()")

    def key(self, name: str) -> None:
        """A key that is pressed and let go."""
        text = {"text": "\r"} if name == "Enter" else {"text": name} if len(name) == 1 else {}
        for kind in ("keyDown", "keyUp"):
            more = text if kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name,
                      windowsVirtualKeyCode=KEYS[name], **more)  # fmt: skip

    def picture(self, path: Path) -> None:
        path.write_bytes(
            base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        )

    def close(self) -> None:
        self._browser.call("Target.closeTarget", targetId=self._target)
        self._browser.pages.pop(self._session)
