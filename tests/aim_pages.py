"""The pages of the Aim UI as a reader uses them: type a query, press Search, see the answer."""

from __future__ import annotations

import json
import time

from tests.browser import Tab

TABLE = (
    "[...document.querySelectorAll('.RunsTable *')]"
    ".find(e => e.scrollWidth > e.clientWidth + 200 && getComputedStyle(e).overflowX != 'hidden')"
)
EDITOR = "document.querySelector('textarea.inputarea')"
PENCIL = "document.querySelector('.icon-edit').closest('button')"
SEARCH = "[...document.querySelectorAll('button')].find(b => b.innerText.trim() == 'Search')"


def show_page(tab: Tab, url: str, explorer: str) -> None:
    """Open one of Aim's explorers, ready to be typed into."""
    tab.call("Page.navigate", url=f"{url}/{explorer}")
    tab.wait(f"location.pathname == '/{explorer}' && !!{EDITOR} && !!({SEARCH})")


def ask(tab: Tab, query: str, *, in_full: bool) -> None:
    """Type a query and press Search.

    ``in_full`` presses the pencil before, by which explorers of sequences take a whole query.
    """
    if in_full:
        tab.value(f"{PENCIL}.click()")
        tab.wait("!!document.querySelector('.AutocompleteInput__container__advanced')")
    # The editor that a switch makes takes a moment until it takes keys.
    time.sleep(1.0)
    tab.value(f"{EDITOR}.focus()")
    for character in query:
        tab.call("Input.dispatchKeyEvent", type="char", text=character)
    tab.wait(f"{typed_text()} == {json.dumps(query)}", wait_s=20.0)
    for kind in ("keyDown", "keyUp"):
        tab.call("Input.dispatchKeyEvent", type=kind, key="Escape", windowsVirtualKeyCode=27)
    tab.value(f"({SEARCH}).click()")


def typed_text() -> str:
    """Return the expression of what the editor shows, with plain spaces."""
    lines = "[...document.querySelectorAll('.monaco-editor .view-line')].map(l => l.innerText)"
    return f"{lines}.join(' ').replace(/\\s+/g, ' ')"


def wait_for_text(tab: Tab, text: str) -> None:
    """Wait until the page shows a text."""
    tab.wait(f"document.body.innerText.includes({json.dumps(text)})")


def hide_invitation(tab: Tab) -> None:
    """Close what Aim invites a new reader to, which lies over the page."""
    tab.wait("!!document.querySelector('.CommunityPopup__tooltip__footer button')")
    tab.value("document.querySelector('.CommunityPopup__tooltip__footer button').click()")


def columns(tab: Tab) -> set[str]:
    """Return the heads of the columns of a table, which shows those that it is scrolled to."""
    found: set[str] = set()
    tab.value(f"{TABLE}.scrollLeft = 0")
    while True:
        time.sleep(0.3)
        found |= {head.strip() for head in tab.value(f"{TABLE}.innerText.split('\\n')")}
        before = tab.value(f"{TABLE}.scrollLeft")
        tab.value(f"{TABLE}.scrollLeft += {TABLE}.clientWidth / 2")
        if tab.value(f"{TABLE}.scrollLeft") == before:
            return found
