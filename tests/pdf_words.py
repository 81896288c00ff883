"""The pages and the words of a PDF that Chromium wrote, whose fonts are named by their objects.

No reader of any PDF: what other programs write (object streams, other filters) is not looked for.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Iterator, Mapping

__all__ = ["num_pages", "squeezed", "words"]

Letters = Mapping[int, str]

OBJECT = re.compile(rb"(\d+) 0 obj\n(.*?)\nendobj", re.DOTALL)
PACKED = re.compile(rb"stream\n(.*)\nendstream", re.DOTALL)
SHOWN = re.compile(rb"/F(\d+) [\d.]+ Tf|<([0-9A-Fa-f]+)> Tj")


def num_pages(pdf: bytes) -> int:
    """Return the number of pages."""
    return len(re.findall(rb"/Type /Page\b", pdf))


def words(pdf: bytes) -> str:
    """Return all that is written, without the space between words, in the order of drawing."""
    objects = {int(number): body for number, body in OBJECT.findall(pdf)}
    fonts = {n: _letters(objects, body) for n, body in objects.items() if b"/ToUnicode" in body}
    drawn = [_unpacked(body) for body in objects.values() if b"/FlateDecode" in body]
    return squeezed("".join(letter for page in drawn for letter in _shown(page, fonts)))


def squeezed(text: str) -> str:
    """Return a text without its space and its ligatures."""
    return unicodedata.normalize("NFKC", "".join(text.split()))


def _shown(page: bytes, fonts: Mapping[int, Letters]) -> Iterator[str]:
    letters: Letters = {}
    for font, glyphs in SHOWN.findall(page):
        letters = fonts.get(int(font), {}) if font else letters
        for at in range(0, len(glyphs), 4):
            yield letters.get(int(glyphs[at : at + 4], 16), "")


def _letters(objects: Mapping[int, bytes], font: bytes) -> Letters:
    """Return the letter of each glyph of a font."""
    (number,) = re.findall(rb"/ToUnicode (\d+) 0 R", font)
    table = _unpacked(objects[int(number)])
    found: dict[int, str] = {}
    for block in re.findall(rb"beginbfchar\n(.*?)endbfchar", table, re.DOTALL):
        for glyph, letter in re.findall(rb"<(\w+)> <(\w+)>", block):
            found[int(glyph, 16)] = bytes.fromhex(letter.decode()).decode("utf-16-be")
    for block in re.findall(rb"beginbfrange\n(.*?)endbfrange", table, re.DOTALL):
        for row in re.findall(rb"<(\w+)> <(\w+)> <(\w+)>", block):
            first, last, letter = (int(cell, 16) for cell in row)
            found |= {glyph: chr(letter + glyph - first) for glyph in range(first, last + 1)}
    return found


def _unpacked(body: bytes) -> bytes:
    packed = PACKED.search(body)
    try:
        return zlib.decompress(packed[1]) if packed else b""
    except zlib.error:
        return b""
