"""The text of a page, for searching: tags go, blocks become lines; linear in its length, whatever it is."""

from __future__ import annotations

import html
import re

LONGEST = 4 << 20
"""Characters of a page that are read."""
_BLOCKS = {
    "address", "article", "blockquote", "br", "dd", "div", "dl", "dt", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre",
    "section", "table", "td", "th", "tr", "ul",
}  # fmt: skip
_UNSEEN = {"script", "style", "head", "title", "template"}
_NAME = re.compile(r"/?([a-zA-Z][a-zA-Z0-9]*)")
_SPACE = re.compile(r"[ \t\xa0]+")
_LINES = re.compile(r"\n[ \t]*\n[\n \t]*")


def text(page: str) -> str:
    """Return what people see of an HTML page."""
    page = page[:LONGEST]
    low = page.lower()
    found: list[str] = []
    at = 0
    while (opening := page.find("<", at)) >= 0:
        found.append(page[at:opening])
        if page.startswith("<!--", opening):
            end = page.find("-->", opening)
            at = len(page) if end < 0 else end + 3
            continue
        end = page.find(">", opening)
        if end < 0:
            found.append(page[opening:])
            at = len(page)
            break
        tag = _NAME.match(page, opening + 1)
        name = tag[1].lower() if tag else ""
        at = end + 1
        if name in _UNSEEN and page[opening + 1] != "/":
            closing = low.find(f"</{name}", at)
            at = len(page) if closing < 0 else closing
        elif name in _BLOCKS:
            found.append("\n")
        elif not tag and page[opening + 1 : opening + 2] not in ("!", "?", "/"):
            found.append(page[opening:at])  # no tag: a < b
    found.append(page[at:])
    plain = _SPACE.sub(" ", html.unescape("".join(found)).replace("\r\n", "\n"))
    return _LINES.sub("\n\n", "\n".join(line.strip() for line in plain.split("\n"))).strip()
