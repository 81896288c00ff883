"""Options of a search on a cluster that are refused before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from spectrum.cli import main

SPACE = """
name: refused
parameters:
  optimizer.lr: {log_uniform: [1.0e-4, 1.0e-2]}
"""


def test_the_address_of_a_dashboard_is_refused_and_takes_no_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space, studies = tmp_path / "s.yaml", tmp_path / "studies"
    space.write_text(SPACE, encoding="utf-8")
    words = ["search", str(space), str(tmp_path), "--studies", str(studies), "--sealed", "each"]
    with pytest.raises(SystemExit) as caught:
        main([*words, "--address", "http://head:8265"])
    assert caught.value.code == 2
    assert "spectrum submit ... --address http://head:8265" in capsys.readouterr().err
    assert not studies.exists()
