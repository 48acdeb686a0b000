"""A headless Chromium for pages: Playwright's own or the system's; tests are skipped where there is none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def chromium() -> Iterator[Any]:
    """Start a browser."""
    api = pytest.importorskip("playwright.sync_api")
    system = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with api.sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=system, args=["--no-sandbox"])
        except api.Error as error:
            pytest.skip(f"no Chromium here: {str(error).splitlines()[0]}")
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def page_at(browser: Any, address: str, **context: Any) -> Iterator[Any]:
    """Open a page; whatever it reports on its console, or asks of the network, fails the test."""
    said: list[str] = []
    asked: list[str] = []
    opened = browser.new_context(**context)
    page = opened.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    yield page
    opened.close()
    here = address.partition("?")[0].rpartition("/")[0]
    assert said == []
    assert [url for url in asked if not url.startswith(here)] == []
