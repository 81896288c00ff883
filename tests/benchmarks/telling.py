"""Where and when something was measured, and how rows are told, the same in all benchmarks.

Benchmarks that are run by their path, outside a package, say it themselves.
"""

from __future__ import annotations

import json
import platform
import sys
from datetime import UTC, datetime
from typing import Any

from spectrum.launch import available_cpus

__all__ = ["measured_here", "tell"]


def measured_here() -> dict[str, str]:
    """Return machine and date, as they end each row."""
    return {
        "machine": f"{available_cpus()} CPUs, {platform.machine()}",
        "date": datetime.now(UTC).date().isoformat(),
    }


def tell(row: dict[str, Any], text: str, *, as_json: bool) -> None:
    """Print a row at once, as one JSON object or as text."""
    sys.stdout.write((json.dumps(row) if as_json else text) + "\n")
    sys.stdout.flush()
