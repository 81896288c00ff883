"""What has been counted so far, by all workers together."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

__all__ = ["Meter"]


@dataclass(slots=True)
class Meter:
    """Bytes that arrived over the network, bytes that were there already, and tries again."""

    received_bytes: int = 0
    kept_bytes: int = 0
    num_retries: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count_received(self, num_bytes: int) -> None:
        """Add bytes that arrived."""
        with self._lock:
            self.received_bytes += num_bytes

    def count_kept(self, num_bytes: int) -> None:
        """Add bytes that need not be fetched; negative where they must be after all."""
        with self._lock:
            self.kept_bytes += num_bytes

    def count_retry(self) -> None:
        """Add one try again."""
        with self._lock:
            self.num_retries += 1
