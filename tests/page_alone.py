"""The page of ``spectrum serve`` before an answerer that knows no model; prints its port.

python -m tests.page_alone
"""

from __future__ import annotations

import sys
from typing import Any, cast

from spectrum.serve import Answerer, run_page
from tests.unit.serve.test_page_guards import NamingAnswerer


def main() -> None:
    def show(url: str) -> None:
        sys.stdout.write(f"{url.rpartition(':')[2]}\n")
        sys.stdout.flush()

    answerer: Any = NamingAnswerer()
    run_page(cast(Answerer, answerer), port=0, max_image_bytes=5000, show=show)


if __name__ == "__main__":
    main()
