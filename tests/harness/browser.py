"""A real browser, and pages of an origin of their own."""

import shutil
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from playwright.async_api import Browser, async_playwright

from tests.harness.parts import missing
from tests.harness.ports import HOST, free_ports

_OPTIONS: Final = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage"
).split()


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """This machine's Chromium."""
    program = shutil.which("chromium")
    if program is None:
        missing("Chromium", "chromium is not on the PATH")
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=program, args=_OPTIONS)
        try:
            yield running
        finally:
            await running.close()


@contextmanager
def serving_pages(pages: Mapping[str, str]) -> Iterator[int]:
    """Serves a page with each of the scripts, by path; says on which port."""

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            script = pages.get(self.path)
            self.send_response(HTTPStatus.OK if script is not None else HTTPStatus.NOT_FOUND)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(f"<!doctype html><script>{script or ''}</script>".encode())

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    [port] = free_ports(1)
    with ThreadingHTTPServer((HOST, port), Pages) as server:
        serving = threading.Thread(target=server.serve_forever, name="pages")
        serving.start()
        try:
            yield port
        finally:
            server.shutdown()
            serving.join()
