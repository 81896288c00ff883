"""Commands about studies, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from spectrum.cli import app
from spectrum.errors import ConfigError, SearchError
from tests.unit.search.test_study_list import study


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    study(tmp_path / "one")
    study(tmp_path / "two", seed=4)
    return tmp_path


def test_a_list_says_what_is_selected(studies: Path) -> None:
    lines = call("study", "list", str(studies)).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["one", "two"]
    assert all("(selected)" in line and "4 complete" in line for line in lines)
    told = json.loads(call("study", "list", str(studies), "--json").stdout)
    assert [entry["study"] for entry in told["studies"]] == ["one", "two"]


def test_a_comparison_names_each_input_that_differs(studies: Path) -> None:
    told = call("study", "diff", str(studies / "one"), str(studies / "two"))
    assert "space.study.seed: 0 | 4" in told.stdout
    assert told.exit_code == 0


def test_numbers_that_differ_in_a_late_digit_are_not_shown_alike(tmp_path: Path) -> None:
    study(tmp_path / "one", pruner={"folds": {"alpha": 0.15}})
    study(tmp_path / "two", pruner={"folds": {"alpha": 0.150001}})
    told = call("study", "diff", str(tmp_path / "one"), str(tmp_path / "two"))
    assert "space.study.pruner.folds.alpha: 0.15 | 0.150001" in told.stdout


def test_a_study_is_shown_for_people_and_for_scripts(studies: Path) -> None:
    text = call("study", "show", str(studies / "one")).stdout
    told = json.loads(call("study", "show", str(studies / "one"), "--json").stdout)
    assert f"trial {told['best']['trial']}" in text
    assert told["best"]["selected"] is True


def test_nothing_is_removed_without_a_further_word(studies: Path) -> None:
    refused = call("study", "rm", str(studies / "one"))
    assert isinstance(refused.exception, ConfigError)
    assert (studies / "one/study.json").is_file()
    assert call("study", "rm", str(studies / "one"), "--yes").exit_code == 0
    assert not (studies / "one").exists()


def test_a_trial_that_is_not_there_cannot_be_trained(studies: Path) -> None:
    told = call("train", str(studies), "--from", str(studies / "one/99"))
    assert isinstance(told.exception, SearchError)
    assert "no ended trial '99'" in str(told.exception)
