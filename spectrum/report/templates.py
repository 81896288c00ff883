"""The templates of the pages: where they lie, and how they are filled in."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import jinja2

__all__ = ["FOLDER", "page_environment"]

FOLDER: Final = Path(__file__).parent
"""Holds the templates and the style sheets."""


def page_environment() -> jinja2.Environment:
    """Return an environment that escapes what it fills in and refuses names not given."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
