"""Nodes that are lost in the middle of a study, one by a kill and one that hangs."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.faults.node_loss import run


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.beside
@pytest.mark.timeout(1500)
def test_a_study_that_loses_a_node_by_a_kill_and_one_that_hangs_has_each_trial_once() -> None:
    # Ray's sockets want a short path.
    with tempfile.TemporaryDirectory() as name:
        losses, wrong = run(Path(name), ["killed", "hung"])
    assert [loss.kind for loss in losses] == ["killed", "hung"]
    assert set(wrong.values()) == {0}, wrong
