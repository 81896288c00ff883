"""What tests share: Ray on two CPUs, a tiny BIDS tree, real data where it is there."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from tests.realdata import REALDATA
from tests.tiny_bids import write_tiny_bids


def pytest_configure() -> None:
    """Take Ctrl-C, as all that tests start does: a shell has it ignored in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """Ray with two CPUs in this process; a test that needs another instance starts its own.

    It demands no token: tests of the door change this process's token and mode, in any order.
    """
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        ray._raylet.Config.initialize("")
        ray.init(
            num_cpus=2,
            include_dashboard=False,
            logging_level="ERROR",
            object_store_memory=400 * 1024**2,
        )
    yield
    ray.shutdown()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)


@pytest.fixture
def tiny_bids(tmp_path: Path) -> Callable[..., Path]:
    """Write a BIDS tree; ``runs`` maps (subject, task, run) to its number of volumes."""

    def write(
        name: str = "ds000002",
        runs: Mapping[tuple[str, str, str], int] | None = None,
        **options: object,
    ) -> Path:
        return write_tiny_bids(tmp_path / "bids" / name, runs, **options)  # type: ignore[arg-type]

    return write


@pytest.fixture(scope="session")
def realdata() -> Path:
    if not (REALDATA / "bold").is_dir():
        pytest.skip(f"there is no real data at {REALDATA}; set SPECTRUM_REALDATA")
    return REALDATA
