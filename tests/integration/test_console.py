"""The console in a real browser: on small and large screens, light and dark, under its own policy."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Iterator
from html import escape, unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from load_tests.server import Server
from service.domain.pictures.layout import INKS
from service.http.console import CONTENT_SECURITY_POLICY, HEADERS
from tests.http.consoles import PAGES, Reader
from tests.integration.conftest import CANDIDATES, eventually, settled_books

pytestmark = pytest.mark.system("chromium")

WIDTHS = (360, 768, 1280)
SHOWN = (
    "two candidates",
    "hostile",
    "many candidates",
    "nothing compared",
    "every number negative",
    "no candidate",
    "many drifts",
    "nobody counts",
)
LEAST_LETTERS = 9.0
"""Height in px of the smallest letters, those of charts on a phone."""
MEASURE = """
onload = () => {
  const found = [...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument, letters = [...page.querySelectorAll("svg text")].map(text => {
      const svg = text.ownerSVGElement, drawn = svg.getBoundingClientRect().width;
      return drawn / svg.viewBox.baseVal.width * parseFloat(text.getAttribute("font-size"));
    }).filter(height => height > 0);
    const boxes = [...page.querySelectorAll("h1, h2, h3, p, dl, figure, .wide, .verdict, details")];
    const captions = [...page.querySelectorAll("caption:not(.heard)")].filter(caption => {
      const words = page.createRange();
      words.selectNodeContents(caption);
      const wide = caption.closest(".wide").getBoundingClientRect();
      return words.getBoundingClientRect().right > wide.right + 1;
    });
    return {
      cut: captions.map(caption => caption.textContent),
      name: frame.title, wide: page.documentElement.clientWidth, needs: page.documentElement.scrollWidth,
      beyond: boxes.filter(box => box.getBoundingClientRect().right > page.documentElement.clientWidth + 1)
        .map(box => box.textContent.trim().slice(0, 60)),
      letters: Math.min(...letters, 99), charts: letters.length,
    };
  });
  document.getElementById("found").textContent = JSON.stringify(found);
};
"""


def chromium(home: Path, *arguments: str) -> str:
    """What the browser writes."""
    command = [
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
        "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
        f"--user-data-dir={home}", *arguments,
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=True).stdout


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """By page and width what a browser makes of it."""
    home = tmp_path_factory.mktemp("browser")
    frames = "".join(
        f'<iframe title="{name}@{width}" style="border:0;width:{width}px;height:800px" '
        f'srcdoc="{escape(PAGES[name].decode())}"></iframe>'
        for name in SHOWN
        for width in WIDTHS
    )
    page = home / "frames.html"
    page.write_text(
        f"<!doctype html><meta charset='utf-8'>{frames}<pre id='found'></pre><script>{MEASURE}</script>",
        encoding="utf-8",
    )
    shown = chromium(home, "--virtual-time-budget=20000", "--dump-dom", page.as_uri())
    found = re.search(r'<pre id="found">(\[.*?\])</pre>', shown, re.DOTALL)
    assert found is not None
    return {entry["name"]: entry for entry in json.loads(unescape(found[1]))}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", SHOWN)
def test_no_page_is_wider_than_its_screen(measured: dict[str, dict[str, Any]], name: str, width: int) -> None:
    found = measured[f"{name}@{width}"]
    assert found["wide"] == width
    assert found["needs"] <= width
    assert found["beyond"] == []
    assert found["cut"] == []


@pytest.mark.parametrize("width", WIDTHS)
def test_charts_can_be_read_on_every_screen(measured: dict[str, dict[str, Any]], width: int) -> None:
    found = measured[f"two candidates@{width}"]
    assert found["charts"] > 100
    assert found["letters"] >= LEAST_LETTERS


@pytest.fixture
def sent() -> Iterator[str]:
    """The URL of the sample page, sent with the headers of the real one."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = PAGES["two candidates"]
            self.send_response(200)
            self.send_header("content-type", "text/html; charset=utf-8")
            for name, value in HEADERS:
                self.send_header(name.decode(), value.decode())
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/console"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(("scheme", "place"), [(1, 0), (0, 1)], ids=["light", "dark"])
def test_the_policy_lets_the_page_be_light_and_dark(
    sent: str, tmp_path: Path, scheme: int, place: int
) -> None:
    picture = tmp_path / "shot.png"
    chromium(
        tmp_path / "home",
        f"--blink-settings=preferredColorScheme={scheme}",
        "--window-size=1200,1600",
        f"--screenshot={picture}",
        sent,
    )
    with Image.open(picture) as opened:
        pixels = opened.convert("RGB")
        seen = {f"#{red:02x}{green:02x}{blue:02x}" for _, (red, green, blue) in pixels.getcolors(1 << 24)}
        corner = pixels.getpixel((2, 2))
    assert "#{:02x}{:02x}{:02x}".format(*corner) == INKS["paper"][place]
    assert {INKS[ink][place] for ink in ("text", "raise", "band")} <= seen


@pytest.mark.process
def test_the_service_shows_what_its_shadow_saw(
    server: Server, instances: list[dict[str, Any]], tmp_path: Path
) -> None:
    with httpx.Client(base_url=server.url, timeout=10) as client:
        for start in range(0, 200, 20):
            client.post("/predict", json={"instances": instances[start : start + 20]}).raise_for_status()
        settled_books(server)
        reply = client.get("/console")
        assert reply.headers["content-type"] == "text/html; charset=utf-8"
        assert reply.headers["content-security-policy"] == CONTENT_SECURITY_POLICY

        def counted() -> bool:
            shown = Reader(client.get("/console").content)
            return all("Rows in all" in shown.words and tag in shown.words for tag in CANDIDATES)

        assert eventually(counted)

        def drift_told() -> bool:
            shown = Reader(client.get("/console").content)
            return shown.rows.count(["Rows", *["200"] * 4]) == 1 + len(CANDIDATES)

        assert eventually(drift_told, 60)
    shown = chromium(tmp_path, "--dump-dom", f"{server.url}/console")
    for tag in CANDIDATES:
        assert f">{tag}</h2>" in shown
    assert "Compared: both models answered" in shown
    assert ">credit:gbm-1, production</h3>" in shown
