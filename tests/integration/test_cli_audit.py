from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from spectrum.cli import main

TASK = "deterministicclassification"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    try:
        main(arguments)
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    told = capsys.readouterr()
    return code, told.out, told.err


def write_table(path: Path, num_subjects: int) -> Path:
    """Write numbers of early and late runs whose air is brighter late."""
    lines = ["bids_name\ttsnr\tsummary_bg_mean\tsnr"]
    for subject in range(1, num_subjects + 1):
        for number in (1, 2):
            name = f"sub-{subject:02}_task-{TASK}_run-{number:02}_bold"
            lines.append(f"{name}\t{40 + subject % 3}\t{20 + subject + number}\t4")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def tree(tiny_bids: Any) -> Path:
    runs = {
        (f"{subject:02}", TASK, f"{number:02}"): 9 + subject + 10 * number
        for subject in range(1, 9)
        for number in (1, 2)
    }
    root: Path = tiny_bids(runs=runs)
    return root


def test_an_audit_of_a_tree_and_a_table_prints_one_object(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_table(tmp_path / "group_bold.tsv", 8)
    code, out, err = run(
        capsys,
        "audit",
        str(tree),
        "--scheme",
        "leave-one-subject-out",
        "--quality",
        f"ds000002={table}",
        "--json",
    )
    told = json.loads(out)
    assert code == 0
    assert told["floor"]["score"] == 1.0
    assert told["directions"]["bg_mean"]["num_higher"] == 8
    assert told["verdict"].startswith("`early_late`, leave-one-subject-out: interpretable only")
    assert "1 columns are no number of the floor and are not used: snr" in err


def test_an_audit_for_people_ends_with_its_verdict_and_says_what_is_missing(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "audit", str(tree), "--scheme", "leave-one-subject-out")
    assert code == 0
    assert out.strip().splitlines()[-1].startswith("`early_late`, leave-one-subject-out:")
    assert "unknown: fg_mean, fg_sd, bg_mean" in out
    assert "spectrum prepare" in out
    assert "Brain masks were not seen" in err


def test_several_schemes_give_one_audit_each(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    schemes = ("leave-one-subject-out", "grouped-k-fold")
    options = [word for scheme in schemes for word in ("--scheme", scheme)]
    _, out, _ = run(capsys, "audit", str(tree), *options, "--json")
    assert [audit["scheme"] for audit in json.loads(out)["audits"]] == list(schemes)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["audit", "/absent"], 1, "/absent is no folder"),
        (["audit", ".", "--scheme", "leave-nobody-out"], 2, "leave-nobody-out"),
        (["baselines", "/absent"], 1, "is no finished shard set"),
        (["baselines", "/absent", "--scheme", "leave-nobody-out"], 2, "leave-nobody-out"),
    ],
)
def test_a_mistake_gets_one_sentence(
    arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found, out, err = run(capsys, *arguments)
    assert (found, out) == (code, "")
    assert said in err.replace("\n", " ")
    assert "Traceback" not in err
