"""``spectrum simulate`` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from spectrum.cli import app
from spectrum.data.bids import index_bids
from spectrum.data.simulate import TRUTHS
from spectrum.errors import ConfigError, DataError
from spectrum.targets import read_target

SMALL = ("--subjects", "2", "--matrix", "8", "--dataset", "ds000052", "--json")


def _simulate(*arguments: str) -> dict[str, object]:
    done = CliRunner().invoke(app, ["simulate", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert isinstance(told, dict)
    return told


@pytest.mark.parametrize("truth", TRUTHS)
def test_each_truth_is_written_and_says_what_it_promises(truth: str, tmp_path: Path) -> None:
    told = _simulate(str(tmp_path), "--truth", truth, *SMALL)
    assert told["roots"] == [str(tmp_path / "ds000052")]
    assert (told["truth"], told["matrix"], told["num_runs"]) == (truth, 8, 8)
    assert told["promise"]
    table = index_bids([tmp_path / "ds000052"])
    assert len(table.runs) == 8
    assert table.problems == ()


def test_a_leak_comes_with_a_target_that_covers_every_run(tmp_path: Path) -> None:
    told = _simulate(str(tmp_path), "--truth", "leak", *SMALL)
    assert told["target"] == str(tmp_path / "leak.yaml")
    target = read_target(str(told["target"]))
    runs = index_bids([tmp_path / "ds000052"]).runs
    assert {target.class_of(run.key) for run in runs} == set(target.classes)


def test_data_sets_written_one_by_one_share_the_leak_target(tmp_path: Path) -> None:
    for dataset in ("ds000052", "ds000011"):
        settings = ("--subjects", "2", "--matrix", "8", "--dataset", dataset, "--json")
        _simulate(str(tmp_path), "--truth", "leak", *settings)
    with pytest.raises(DataError, match=r"leak\.yaml is the target of another simulation"):
        _simulate(str(tmp_path), "--truth", "leak", "--seed", "4", "--dataset", "ds000002")


def test_the_size_of_the_effect_is_what_was_asked_for(tmp_path: Path) -> None:
    told = _simulate(str(tmp_path), "--effect-percent", "1.25", *SMALL)
    assert told["effect_percent"] == 1.25
    description = json.loads((tmp_path / "ds000052" / "dataset_description.json").read_text())
    assert description["Simulation"]["effect_percent"] == 1.25


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (("--truth", "leak", "--effect-percent", "2"), "no deep response"),
        (("--matrix", "large"), "a number from 8 to 64, or native"),
        (("--truth", "maybe"), "maybe"),
    ],
)
def test_a_wrong_option_is_wrong_usage(
    arguments: tuple[str, ...], found: str, tmp_path: Path
) -> None:
    done = CliRunner().invoke(app, ["simulate", str(tmp_path), *arguments])
    assert done.exit_code == 2
    assert found in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "found"),
    [(("--matrix", "7"), "matrix is 7"), (("--dataset", "ds000003"), "datasets names ds000003")],
)
def test_a_wrong_size_or_data_set_is_named(
    arguments: tuple[str, ...], found: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=found):
        CliRunner().invoke(
            app, ["simulate", str(tmp_path / "out"), *arguments], catch_exceptions=False
        )
    assert not (tmp_path / "out").exists()
