"""The command line as a user meets it: exit codes, one sentence for a mistake, JSON on stdout.

Mistakes are made in this process, which has the heavy libraries already; one of each kind also
in a process of its own, as a shell starts it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer

from spectrum.cli import app, main

SPACE = """
name: tiny
parameters:
  {name}: {{choice: [4, 6]}}
"""

TARGET = """
name: mine
description: A table with a class that is not declared.
classes: [early, late]
rules:
  - {dataset: ds000002, task: probabilisticclassification, run: 1, class: erly, source: test}
"""


@dataclass(frozen=True)
class Answer:
    """How the command line ended and what it wrote."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def spectrum(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Answer]:
    """Run a command line in this process and in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Answer:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        told = capsys.readouterr()
        return Answer(int(ended.value.code or 0), told.out, told.err)

    return call


def _started(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", "from spectrum.cli import main; main()", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("arguments", "exit_code", "sentence"),
    [
        (("inspect", "nowhere"), 1, "nowhere is no folder"),
        (("prepare", "nowhere"), 1, "nowhere is no folder"),
        (("prepare", ".", "--shards", "/dev/null/x"), 2, "--shards /dev/null/x: /dev/null is no"),
        (("train", "nowhere.yaml", "."), 2, "nowhere.yaml is no file"),
        (("search", "nowhere.yaml", "."), 2, "nowhere.yaml is no file"),
        (("report", "nowhere"), 1, "nowhere"),
        (("export", "nowhere", "model"), 1, "nowhere holds no model"),
        (("predict", "nowhere", "."), 1, "nowhere/model.json is missing"),
        (("ui", "nowhere"), 1, "nowhere"),
        (
            ("config", "show", "--set", "model.embed_dims=3"),
            2,
            "nearest known one is model.embed_dim",
        ),
        (("config", "show", "--set", "model.embed_dim"), 2, "not of the form key=value"),
        (("config", "show", "--set", "model.embed_dim=wide"), 2, "should be a valid integer"),
        (("inspect", ".", "--target", "stages"), 2, "nearest is 'stage'"),
        (("targets", "stages"), 2, "nearest is 'stage'"),
        (("targets", "nowhere.yaml"), 2, "There is no target file nowhere.yaml"),
        (("targets", "."), 2, "a target is a name or a YAML file"),
        (("targets", "stage", "nowhere"), 1, "nowhere is no folder"),
        (("targets", "stage", "--schema"), 2, "schema of all target files"),
    ],
)
def test_a_mistake_gets_one_sentence_and_no_traceback(
    spectrum: Callable[..., Answer], arguments: tuple[str, ...], exit_code: int, sentence: str
) -> None:
    _check_one_sentence(spectrum(*arguments), exit_code, sentence)


@pytest.mark.parametrize(
    ("arguments", "exit_code", "sentence"),
    [
        (("inspect", "nowhere"), 1, "nowhere is no folder"),
        (("targets", "stages"), 2, "nearest is 'stage'"),
    ],
)
def test_a_shell_sees_the_exit_code_and_the_sentence_of_a_mistake(
    tmp_path: Path, arguments: tuple[str, ...], exit_code: int, sentence: str
) -> None:
    _check_one_sentence(_started(*arguments, cwd=tmp_path), exit_code, sentence)


def _check_one_sentence(
    done: Answer | subprocess.CompletedProcess[str], exit_code: int, sentence: str
) -> None:
    assert done.returncode == exit_code, done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2
    assert done.stdout == ""


def test_a_space_whose_name_is_no_config_path_names_the_nearest(
    spectrum: Callable[..., Answer], tmp_path: Path
) -> None:
    space = _write(tmp_path / "space.yaml", SPACE.format(name="preprocessing.fwhm"))
    for command in (("space", "check", space), ("search", space, str(tmp_path))):
        done = spectrum(*command)
        assert done.returncode == 2
        assert "preprocessing.fwhm is no config path" in done.stderr
        assert "preprocessing.fwhm_mm" in done.stderr


def test_an_unknown_class_in_a_target_file_is_named(
    spectrum: Callable[..., Answer], tmp_path: Path
) -> None:
    target = _write(tmp_path / "target.yaml", TARGET)
    done = spectrum("inspect", str(tmp_path), "--target", target)
    assert done.returncode in (1, 2)
    assert "erly" in done.stderr
    assert "early" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_key_of_a_configuration_file_is_named(
    spectrum: Callable[..., Answer], tmp_path: Path
) -> None:
    config = _write(tmp_path / "config.yaml", "preprocessing: {fwhm_m: 3}\n")
    done = spectrum("train", config, str(tmp_path))
    assert done.returncode == 2
    assert "preprocessing.fwhm_m is no config path" in done.stderr


def test_the_shown_configuration_is_the_default_one(tmp_path: Path) -> None:
    from spectrum.config import TrialConfig, read_config

    shown = _started("config", "show", cwd=tmp_path)
    path = tmp_path / "config.yaml"
    path.write_text(shown.stdout, encoding="utf-8")
    assert read_config(TrialConfig, path) == TrialConfig()


def test_real_trees_are_inspected_with_each_missing_image_named(
    realdata: Path, tmp_path: Path
) -> None:
    names = ("ds000002", "ds000011", "ds000017", "ds000052")
    roots = [str(realdata / name) for name in names]
    done = _started("inspect", *roots, "--target", "stage", "--json", cwd=tmp_path)
    told = json.loads(done.stdout)
    assert tuple(told["datasets"].items()) == tuple(zip(names, (102, 84, 74, 52), strict=True))
    assert told["classes"] == {
        "acquisition": 109,
        "consolidation": 92,
        "transfer": 71,
        "reversal": 26,
    }
    assert told["unlabelled"] == 14
    missing = {p["path"] for p in told["problems"] if p["code"] == "missing-image"}
    assert len(missing) == 312


def _flags(command: typer.core.TyperGroup | object, name: str) -> dict[str, list[str]]:
    if isinstance(command, typer.core.TyperGroup):
        merged: dict[str, list[str]] = {}
        for child, inner in sorted(command.commands.items()):
            merged |= _flags(inner, f"{name} {child}".strip())
        return merged
    options = [o for p in command.params for o in p.opts if o.startswith("--")]  # type: ignore[attr-defined]
    return {name: sorted(options)}


def test_the_flags_of_the_command_line_are_these() -> None:
    assert _flags(typer.main.get_command(app), "") == {
        "attention": ["--json", "--method", "--out", "--region", "--sequences", "--shards"],
        "audit": [
            "--json",
            "--multi-echo",
            "--quality",
            "--scheme",
            "--set",
            "--space",
            "--target",
            "--tr-from",
        ],
        "baselines": [
            "--json",
            "--permutations",
            "--rungs",
            "--scheme",
            "--set",
            "--study",
            "--target",
        ],
        "cluster down": ["--json"],
        "cluster status": ["--json"],
        "cluster up": [
            "--cpus-per-node",
            "--dashboard-port",
            "--json",
            "--nodes",
            "--object-store-gib",
        ],
        "config show": ["--json", "--set"],
        "demo": ["--cpus", "--json", "--out", "--seed", "--subjects", "--trials", "--truth"],
        "doctor": ["--address", "--data", "--json", "--shards", "--studies"],
        "download": [
            "--dry-run",
            "--endpoint-url",
            "--everything",
            "--force",
            "--json",
            "--out",
            "--run",
            "--session",
            "--snapshots-url",
            "--subject",
            "--task",
            "--verify",
            "--workers",
        ],
        "evaluate": [
            "--cpus",
            "--json",
            "--multi-echo",
            "--order",
            "--shards",
            "--space",
            "--task",
            "--tr-from",
        ],
        "export": ["--fold", "--json"],
        "inspect": [
            "--cpus",
            "--images",
            "--json",
            "--multi-echo",
            "--space",
            "--target",
            "--tr-from",
        ],
        "jobs list": ["--address", "--insecure", "--json"],
        "jobs log": ["--address", "--follow", "--insecure"],
        "jobs stop": ["--address", "--insecure"],
        "predict": ["--cpus", "--json", "--multi-echo", "--shards", "--space", "--tr-from"],
        "prepare": [
            "--config",
            "--cpus",
            "--json",
            "--multi-echo",
            "--plot",
            "--plots",
            "--retry",
            "--set",
            "--shards",
            "--space",
            "--target",
            "--tr-from",
        ],
        "report": ["--json", "--open", "--shards"],
        "search": [
            "--address",
            "--aim",
            "--cpus",
            "--dry-run",
            "--fork",
            "--freeze",
            "--insecure",
            "--json",
            "--multi-echo",
            "--name",
            "--no-probe",
            "--resume",
            "--sealed",
            "--set",
            "--shards",
            "--space",
            "--studies",
            "--tr-from",
            "--trials",
        ],
        "serve": ["--cpus", "--max-mib", "--port"],
        "shards list": ["--json", "--shards"],
        "shards prune": ["--budget-gib", "--dry-run", "--json", "--shards", "--spatial-days"],
        "simulate": [
            "--cpus",
            "--dataset",
            "--effect-percent",
            "--json",
            "--matrix",
            "--seed",
            "--subjects",
            "--truth",
        ],
        "space check": ["--freeze", "--json", "--set"],
        "space sample": ["--freeze", "--json", "--number", "--seed", "--set"],
        "space schema": ["--json"],
        "space show": ["--freeze", "--json", "--set"],
        "study diff": ["--json"],
        "study list": ["--json"],
        "study rm": ["--yes"],
        "study show": ["--json"],
        "study track": ["--aim", "--json"],
        "submit": [
            "--address",
            "--insecure",
            "--json",
            "--leave",
            "--runtime-env",
            "--working-dir",
        ],
        "targets": ["--json", "--schema"],
        "train": [
            "--cpus",
            "--from",
            "--json",
            "--ladder",
            "--multi-echo",
            "--out",
            "--resume",
            "--set",
            "--shards",
            "--space",
            "--tr-from",
            "--workers",
        ],
        "ui": ["--port"],
        "unseal": ["--again", "--cpus", "--json", "--shards"],
    }


@pytest.mark.parametrize("budget", ["inf", "1e308"])
def test_a_budget_that_is_no_size_is_refused_with_a_sentence(
    spectrum: Callable[..., Answer], tmp_path: Path, budget: str
) -> None:
    done = spectrum("shards", "prune", "--budget-gib", budget, "--shards", str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert "is no size" in done.stderr
    assert "Traceback" not in done.stderr
