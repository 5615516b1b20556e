"""Photographs of the pages in headless Chromium: nothing is cut off, nothing is fetched, sorting works."""

import base64
import fcntl
import io
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitrail.draw.html import Html
from vitrail.draw.page import Section, csv_text, download, page
from vitrail.measure.classify import judge
from vitrail.run.compare.page import write_page
from vitrail.run.content import Cost, Explained, Look, ReportContent
from vitrail.run.report import Shown, write_report

pytestmark = pytest.mark.browser

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


class Chromium:
    """A browser that is spoken to through two pipes, in messages that end in a zero byte."""

    def __init__(self, profile):
        program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
        ours, theirs = os.pipe(), os.pipe()
        # The browser reads from 3 and writes to 4: its ends are moved out of the way of those numbers first.
        reads, writes = (fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (ours[0], theirs[1]))
        self._in, self._out = ours[1], theirs[0]
        become = "import os, sys; r, w, *c = sys.argv[1:]; os.dup2(int(r), 3); os.dup2(int(w), 4); "
        become += "os.execv(c[0], c)"
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-I",
                "-c",
                become,
                str(reads),
                str(writes),
                program,
                *FLAGS,
                f"--user-data-dir={profile}",
            ],
            pass_fds=(reads, writes),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in (ours[0], theirs[1], reads, writes):
            os.close(end)
        self._number, self._read, self.events = 0, b"", []

    def ask(self, method, session=None, **params):
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        os.write(self._in, json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        while True:
            while b"\0" not in self._read:
                part = os.read(self._out, 1 << 20)
                assert part, "the browser has gone"
                self._read += part
            line, self._read = self._read.split(b"\0", 1)
            answer = json.loads(line)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def close(self):
        self.ask("Browser.close")
        self._process.wait(20)
        os.close(self._in)
        os.close(self._out)


class Tab:
    """A page in the browser, ``width`` pixels wide, light or dark."""

    def __init__(self, browser, path, width, dark=False):
        self.browser = browser
        browser.events.clear()
        target = browser.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for room in ("Page", "Network", "Log", "Runtime"):
            self.ask(f"{room}.enable")
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.ask("Page.navigate", url=Path(path).as_uri())
        deadline = time.monotonic() + 60
        while not self.heard("Page.loadEventFired"):
            assert time.monotonic() < deadline, "the page does not load"
            self.run("1")
            time.sleep(0.02)

    def ask(self, method, **params):
        return self.browser.ask(method, self.session, **params)

    def heard(self, method):
        return [
            event["params"]
            for event in self.browser.events
            if event.get("method") == method and event.get("sessionId") == self.session
        ]

    def run(self, script):
        result = self.ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def photograph(self):
        data = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    chromium = Chromium(tmp_path_factory.mktemp("profile"))
    yield chromium
    chromium.close()


def content(classes, names=None):
    random = np.random.default_rng(0)
    names = names or [f"a rather long name of class {i}" for i in range(classes)]
    truth = np.arange(10 * classes) % classes
    powers = np.exp(random.normal(size=(10 * classes, classes)) + 3 * np.eye(classes)[truth])
    quality = judge(powers / powers.sum(1, keepdims=True), truth, classes=names, resamples=50)
    picture = random.integers(0, 255, (24, 32, 3), np.uint8)
    shown = [
        Shown(picture=picture, caption=names[0], remark="some/where/" + "x" * 60 + ".jpg", tone="bad")
    ] * 9
    return ReportContent(
        title=f"vit-s16 on {classes} classes",
        model="vit-s16",
        data="/a/very/long/path/without/any/space/" + "x" * 80,
        classes=names,
        quality=quality,
        facts={"Canvas": "224 × 224"},
        splits={"train": [80] * classes, "val": [10] * classes, "test": [10] * classes},
        broken={"some/where/" + "x" * 90 + ".jpg": "truncated"},
        notes=["A note about the data."],
        samples=shown,
        history=[
            {"epoch": e, "loss": 2 / e, "lr": 1e-3 / e, "val_accuracy": 1 - 1 / e} for e in range(1, 20)
        ],
        best_epoch=18,
        temperature=1.2,
        uncalibrated=quality,
        best=shown,
        worst=shown,
        mistakes=shown,
        explained=Explained(
            method="relevance", looks=[Look(picture=picture, heat=np.eye(4), caption=names[0])] * 4
        ),
        cost=Cost(
            parameters=10**7,
            train_seconds=100,
            train_rate=500,
            hardware="A processor of a long name, 64 cores",
        ),
        versions={"torch": "2.11"},
        recipe={"where": "y" * 200},
        commands={"Use it": "vitrail predict /a/very/long/path/without/any/space/" + "z" * 80},
    )


@pytest.fixture(scope="module")
def pages(tmp_path_factory, made_up_outcome):
    made = {}
    for classes in (2, 10, 200):
        made[classes] = write_report(tmp_path_factory.mktemp(f"report{classes}"), content(classes))
    folder = tmp_path_factory.mktemp("comparison")
    write_page(made_up_outcome(folder))
    made["comparison"] = folder / "report.html"
    return made


# What sticks out of the page, unless it is within something that scrolls by itself.
STICKING_OUT = """
[...document.querySelectorAll("body *")]
  .filter((each) => !each.parentElement.closest(".scroll, pre, .plot, .unseen") && !each.matches(".skip"))
  .filter((each) => each.getBoundingClientRect().width && each.getBoundingClientRect().right > innerWidth + 1)
  .map((each) => each.tagName + "." + each.getAttribute("class"))
"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", [2, 10, 200, "comparison"])
def test_pages_fit_load_nothing_and_are_not_empty(browser, pages, name, width, dark):
    tab = Tab(browser, pages[name], width, dark)
    assert tab.run("document.documentElement.scrollWidth") == width
    assert tab.run(STICKING_OUT) == []
    asked = [each["request"]["url"] for each in tab.heard("Network.requestWillBeSent")]
    assert [url for url in asked if not url.startswith("data:")] == [pages[name].as_uri()]
    assert tab.heard("Log.entryAdded") == []  # neither a broken policy nor an error
    assert tab.heard("Runtime.exceptionThrown") == []
    photograph = tab.photograph()
    assert photograph.shape[1] == width
    ground = photograph[200:, 2].mean()
    assert (ground < 60) if dark else (ground > 230)
    assert photograph.std() > 20


def test_texts_stand_out_from_their_ground(browser, pages):
    """WCAG AA: a contrast of 4.5 for all text on the page."""
    script = """
    (() => {
      const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
      const light = (colour) => parts(colour).slice(0, 3).map((v) => v / 255)
        .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
      const ground = (element) => {
        for (let each = element; each; each = each.parentElement) {
          const colour = getComputedStyle(each).backgroundColor;
          if ((parts(colour)[3] ?? 1) === 1) return light(colour);
        }
      };
      const poor = new Set();
      const words = "h1, h2, h3, p, a, dt, dd, th, td, li, summary, figcaption, code, .number";
      for (const each of document.querySelectorAll(words)) {
        const [a, b] = [light(getComputedStyle(each).color), ground(each)].sort((x, y) => y - x);
        if ((a + 0.05) / (b + 0.05) < 4.5) poor.add(each.tagName + "." + each.className);
      }
      return [...poor];
    })()
    """
    for dark in (False, True):
        assert Tab(browser, pages[10], 1280, dark).run(script) == []


def test_columns_sort_when_their_name_is_clicked(browser, pages):
    tab = Tab(browser, pages[10], 1280)
    table = "document.querySelector('#class-by-class table')"
    column = f"[...{table}.tBodies[0].rows].map((row) => Number(row.cells[4].dataset.order))"
    before = tab.run(column)
    tab.run(f"{table}.tHead.rows[0].cells[4].querySelector('button').click()")
    assert tab.run(column) == sorted(before, reverse=True)
    assert tab.run(f"{table}.tHead.rows[0].cells[4].getAttribute('aria-sort')") == "descending"
    tab.run(f"{table}.tHead.rows[0].cells[4].querySelector('button').click()")
    assert tab.run(column) == sorted(before)


def test_hostile_names_run_nothing(browser, tmp_path):
    names = ["<script>window.hit = 1</script>", '"><img src=x onerror="window.hit = 1">']
    tab = Tab(browser, write_report(tmp_path, content(2, names)), 1280)
    assert tab.run("window.hit") is None
    assert tab.run("document.scripts.length") == 1
    assert names[1] in tab.run("document.body.innerText")


def test_the_policy_stops_what_would_reach_out(browser, pages):
    tab = Tab(browser, pages[2], 1280)
    tab.run("new Image().src = 'https://example.org/x.png'; fetch('https://example.org/').catch(() => 0)")
    tab.run(
        "const script = Object.assign(document.createElement('script'), {textContent: 'window.hit = 1'});"
        "document.body.append(script)"
    )
    deadline = time.monotonic() + 20
    while len(tab.heard("Log.entryAdded")) < 3 and time.monotonic() < deadline:
        tab.run("1")
        time.sleep(0.02)
    said = " ".join(each["entry"]["text"] for each in tab.heard("Log.entryAdded"))
    assert all(
        f"{rule} " in said or f"{rule}'" in said for rule in ("img-src", "connect-src", "script-src")
    ), said
    assert tab.run("window.hit") is None


def test_a_table_is_saved_by_a_click(browser, tmp_path):
    table = ["Name", "Value"], [["été, €", 0.1], ["=1+1", -2]]
    link = download("table.csv", *table)
    path = tmp_path / "report.html"
    path.write_text(page("Table", Html(), [Section(title="Table", content=[link])], Html()), "utf-8")
    tab = Tab(browser, path, 1280)
    browser.ask("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    tab.run("document.querySelector('a[download]').click()")
    saved, expected = tmp_path / "table.csv", csv_text(*table).encode()
    deadline = time.monotonic() + 20
    while not (saved.is_file() and saved.read_bytes() == expected) and time.monotonic() < deadline:
        tab.run("1")
        time.sleep(0.02)
    assert saved.read_bytes() == expected
    assert tab.heard("Log.entryAdded") == []


def test_paper_shows_what_is_folded_and_scrolled(browser, pages):
    tab = Tab(browser, pages[200], 1280)
    tab.ask("Emulation.setEmulatedMedia", media="print")
    tab.run("dispatchEvent(new Event('beforeprint'))")
    assert tab.run("document.querySelectorAll('details:not([open])').length") == 0
    tables = "[...document.querySelectorAll('.scroll')]"
    assert tab.run(f"{tables}.filter((each) => each.scrollHeight > each.clientHeight + 1).length") == 0
    tab.run("dispatchEvent(new Event('afterprint'))")
    assert tab.run("document.querySelectorAll('details[open]').length") == 0
