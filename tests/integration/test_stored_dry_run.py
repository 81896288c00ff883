"""A dry run looks at the addresses of its search before anything else does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from spectrum.cli import main
from tests.integration.test_two_nodes import RUNS, SPACE


@pytest.fixture
def asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_bids: Callable[..., Path]
) -> list[str]:
    monkeypatch.setenv("SPECTRUM_STORAGE_CACHE", str(tmp_path / "cache"))
    space = tmp_path / "joint.yaml"
    space.write_text(yaml.safe_dump(SPACE))
    root = tiny_bids(runs=RUNS)
    return ["search", str(space), str(root), "--name", "joint", "--dry-run", "--no-probe"]


def test_a_dry_run_tells_what_is_at_the_addresses(
    tmp_path: Path, asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    studies, shards = (f"file://{tmp_path / 'store' / name}" for name in ("studies", "shards"))
    with pytest.raises(SystemExit) as end:
        main([*asked, "--studies", studies, "--shards", shards])

    told = capsys.readouterr()
    assert end.value.code == 0, told.err
    assert f"  {studies}/joint: can be read, no study yet\n" in told.out
    assert f"  {shards}: can be read, 0 shard sets\n" in told.out
    assert not (tmp_path / "store").exists()


def test_a_dry_run_ends_with_why_an_address_cannot_be_read(
    tmp_path: Path, asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "store").write_text("a file where a folder should be")
    studies = f"file://{tmp_path / 'store'}"
    with pytest.raises(SystemExit) as end:
        main([*asked, "--studies", studies])

    told = capsys.readouterr()
    assert end.value.code == 1
    assert f"  {studies}/joint: cannot be used, see below\n" in told.out
    assert told.err.startswith(f"spectrum: {studies}/joint: it cannot be listed")
