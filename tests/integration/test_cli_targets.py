"""``spectrum targets`` as a user meets it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from spectrum.cli import main
from spectrum.targets import Target, read_target, shipped_targets
from tests.tiny_bids import TASK

EVENTS = """
description: What was seen.
classes: [face, house]
event:
  trial_types: {face: face, house: house}
  duration_s: 8
  source: a logbook
"""


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Type ``spectrum targets ...`` and return what stands on stdout."""

    def type_in(*arguments: str, exit_code: int = 0) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["targets", *arguments])
        assert ended.value.code == exit_code
        return capsys.readouterr().out

    return type_in


def test_all_shipped_targets_are_listed(told: Callable[..., str]) -> None:
    words, facts = told(), json.loads(told("--json"))
    assert tuple(facts) == shipped_targets()
    for name in shipped_targets():
        target = read_target(name)
        assert f"{name}: {', '.join(target.classes)}" in words
        assert facts[name]["classes"] == list(target.classes)
        assert facts[name]["num_rules"] == len(target.rules)


@pytest.mark.parametrize("name", shipped_targets())
def test_a_target_is_shown_whole(told: Callable[..., str], name: str) -> None:
    target = read_target(name)
    words = " ".join(told(name).split())
    for row in (*target.rules, *target.excluded):
        assert row.task in words
        assert " ".join(row.source.split()) in words
    assert all(" ".join(rule.note.split()) in words for rule in target.rules)
    assert all(" ".join(row.reason.split()) in words for row in target.excluded)
    assert "confounded with: " in words


@pytest.mark.parametrize("name", shipped_targets())
def test_a_target_shown_as_json_is_the_target(told: Callable[..., str], name: str) -> None:
    whole: dict[str, Any] = json.loads(told(name, "--json"))
    assert whole.pop("kind") == "run"
    assert Target.model_validate(whole) == read_target(name)


def test_a_target_of_events_is_shown_with_its_window(
    told: Callable[..., str], tmp_path: Path
) -> None:
    path = tmp_path / "seen.yaml"
    path.write_text(EVENTS, encoding="utf-8")
    words = told(str(path))
    assert "window: from 5 s after the onset, 8 s" in words
    assert "tasks: all" in words
    assert "source: a logbook" in words


def test_the_schema_is_printed_and_nothing_else(told: Callable[..., str]) -> None:
    schema = json.loads(told("--schema"))
    Draft202012Validator.check_schema(schema)
    assert json.loads(told("--schema", "--json")) == schema


def test_classes_are_counted_in_trees_and_aligned(
    told: Callable[..., str], tiny_bids: Callable[..., Path]
) -> None:
    root = str(tiny_bids())
    counts = json.loads(told("early_late", root, "--json"))["counts"]
    assert counts["classes"] == {"early": 2, "late": 2}
    assert [row["task"] for row in counts["table"]] == [TASK]
    lines = told("early_late", root).splitlines()
    table = [line for line in lines if line.startswith("    ")]
    assert len({len(line) for line in table}) == 1
    assert table[1].split() == ["ds000002", TASK, "4", "2", "2", "0", "0"]
    assert table[-1].split() == ["all", "4", "2", "2", "0", "0"]
    assert any(line.startswith("row-without-run: Row 3 of rules") for line in lines)


def test_an_unreadable_events_table_is_named_and_the_others_are_counted(
    told: Callable[..., str], tiny_bids: Callable[..., Path], tmp_path: Path
) -> None:
    path = tmp_path / "seen.yaml"
    path.write_text(EVENTS, encoding="utf-8")
    root = tiny_bids()
    image = next(root.rglob("*_bold.nii*"))
    stem = image.name.split("_bold")[0]
    image.with_name(f"{stem}_events.tsv").write_text("nothing", encoding="utf-8")
    found = json.loads(told(str(path), str(root), "--json", exit_code=3))
    assert [problem["code"] for problem in found["counts"]["refused"]] == ["bad-events"]
