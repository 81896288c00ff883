"""A cluster of two nodes by our own commands: a study over both, its token, and its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.tiny_bids import TASK
from tests.unit.search.test_driver import lines_of

pytestmark = [pytest.mark.ray, pytest.mark.slow]

CHECKOUT = Path(__file__).parents[2]
RUNS = {(f"0{s}", TASK, f"0{r}"): 16 + s for s in (1, 2, 3) for r in (1, 2)}

TO_A_TRIAL_S = 240.0
"""Seconds for a job to end its first trial, on a machine that is busy."""

MAIN = "from spectrum.cli import main; main()"

SPACE = {
    "name": "both",
    "base": {
        "folds": {"scheme": "leave-one-subject-out"},
        "preprocessing": {"voxel_mm": 20.0, "high_pass_hz": 0.0},
        "sequences": {"num_volumes": 3, "stride": 5},
        "model": {"embed_dim": 8, "depth": 1, "num_heads": 2, "attention_heads": 2},
        "training": {"num_epochs": 2, "batch_size": 8, "min_steps_per_epoch": 4},
    },
    "study": {"pruner": {"rule": "none"}, "rerun": {"top": 0}, "ladder": "none"},
    "parameters": {"training.workers": {"choice": [1, 2]}},
}


@dataclass(frozen=True, slots=True)
class Commands:
    """Runs spectrum as a user whose home is a folder; ``before`` is what runs the command."""

    home: Path
    before: tuple[str, ...] = ()

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        program = self.begin(*arguments, **environment)
        try:
            printed, noted = program.communicate(timeout=500)
        finally:
            program.kill()
        return subprocess.CompletedProcess(arguments, program.returncode, printed, noted)

    def begin(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        own = {"HOME": str(self.home), "PYTHONPATH": str(CHECKOUT), "PATH": path}
        return subprocess.Popen(
            [*self.before, sys.executable, "-c", MAIN, *arguments],
            env=kept | own | environment,
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture
def spectrum(tmp_path_factory: pytest.TempPathFactory) -> Commands:
    return Commands(tmp_path_factory.mktemp("home"))


@pytest.fixture
def cluster(spectrum: Commands) -> Iterator[dict[str, Any]]:
    started = spectrum("cluster", "up", "--nodes", "2", "--cpus-per-node", "1", "--json")
    assert started.returncode == 0, started.stderr
    yield json.loads(started.stdout)
    spectrum("cluster", "down")


def test_trials_of_one_and_two_workers_run_over_both_nodes(
    spectrum: Commands, cluster: dict[str, Any], tiny_bids: Callable[..., Path]
) -> None:
    root = tiny_bids(runs=RUNS)
    space = spectrum.home / "both.yaml"
    space.write_text(yaml.safe_dump(SPACE))
    searched = spectrum(
        "search", str(space), str(root), "--trials", "4", "--address", "auto", "--json"
    )
    assert searched.returncode == 0, searched.stderr
    lines = lines_of(spectrum.home / "studies/both")
    assert [line["state"] for line in lines] == ["complete"] * 4
    # Two workers, each with a CPU, on nodes of one CPU: one trial stood on both.
    assert {line["config"]["training"]["workers"] for line in lines} == {1, 2}


def test_another_token_is_refused_and_none_is_refused(
    spectrum: Commands, cluster: dict[str, Any], tmp_path: Path
) -> None:
    space = tmp_path / "s.yaml"
    space.write_text(yaml.safe_dump(SPACE))
    stranger = Commands(tmp_path)
    asked = ("search", str(space), str(tmp_path), "--address", cluster["address"])
    without = stranger(*asked)
    assert without.returncode == 1
    assert "There is no token at" in without.stderr
    wrong = stranger(*asked, RAY_AUTH_TOKEN="0" * 64)
    assert wrong.returncode == 1
    assert f"The Ray at {cluster['address']} takes another token" in wrong.stderr
    assert "0" * 64 not in wrong.stderr


def wait_for_lines(study: Path, num_lines: int) -> None:
    """Wait until a study has so many trials; a line may be in the writing, so none is read."""
    end = time.monotonic() + TO_A_TRIAL_S
    while (study / "trials.jsonl").read_bytes().count(b"\n") < num_lines:
        assert time.monotonic() < end, f"{study} has fewer than {num_lines} trials"
        time.sleep(0.2)


def test_a_search_that_is_sent_runs_to_its_end_and_one_that_is_stopped_can_be_continued(
    spectrum: Commands, cluster: dict[str, Any], tiny_bids: Callable[..., Path]
) -> None:
    root = tiny_bids(runs=RUNS)
    sent = spectrum.home / "sent"
    sent.mkdir()
    (sent / "sent.yaml").write_text(yaml.safe_dump({**SPACE, "name": "sent"}))
    folders = ("--shards", str(spectrum.home / "shards"), "--studies", str(spectrum.home / "jobs"))
    asked = ("submit", "sent.yaml", str(root), *folders, "--working-dir", str(sent), "--json")
    done = spectrum(*asked, "--trials", "1")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "SUCCEEDED"
    assert "best" in done.stderr
    assert [line["state"] for line in lines_of(spectrum.home / "jobs/sent")] == ["complete"]
    left = json.loads(spectrum(*asked, "--trials", "500", "--resume", "--leave").stdout)
    listed = json.loads(spectrum("jobs", "list", "--json").stdout)["jobs"]
    assert listed[0]["job"] == left["job"]
    wait_for_lines(spectrum.home / "jobs/sent", 2)
    assert spectrum("jobs", "stop", left["job"]).returncode == 0
    told = spectrum("jobs", "log", left["job"], "--follow").stdout
    assert "interrupted" in told or "SIGTERM" in told
    num_done = len(lines_of(spectrum.home / "jobs/sent"))
    assert num_done < 500
    more = spectrum(*asked, "--trials", str(num_done + 1), "--resume")
    assert more.returncode == 0, more.stderr
    # Those that had begun when it was stopped go on, beyond the number asked for too.
    numbers = sorted(line["number"] for line in lines_of(spectrum.home / "jobs/sent"))
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > num_done


def test_the_door_of_jobs_is_closed_to_strangers(
    spectrum: Commands, cluster: dict[str, Any], tmp_path: Path
) -> None:
    stranger = Commands(tmp_path)
    asked = ("jobs", "list", "--address", cluster["dashboard"])
    assert "There is no token at" in stranger(*asked).stderr
    wrong = stranger(*asked, RAY_AUTH_TOKEN="0" * 64)
    assert wrong.returncode == 1
    assert "does not take this token" in wrong.stderr


def test_nothing_listens_beyond_this_machine_and_the_token_is_told_to_nobody(
    spectrum: Commands, cluster: dict[str, Any]
) -> None:
    keeper = psutil.Process(cluster["pid"])
    hosts = {
        connection.laddr.ip
        for process in (keeper, *keeper.children(recursive=True))
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert hosts
    assert hosts <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
    token = Path(cluster["token"]).read_text()
    assert token not in json.dumps(cluster)
    logs = [path for path in Path(cluster["folder"]).rglob("*") if path.is_file()]
    assert logs
    assert not [path for path in logs if token in path.read_text(errors="replace")]


def test_a_lost_node_is_told_and_started_again_and_down_ends_what_up_started_alone(
    spectrum: Commands, cluster: dict[str, Any]
) -> None:
    assert spectrum("cluster", "status").returncode == 0
    assert "runs here already" in spectrum("cluster", "up").stderr
    lost = psutil.Process(cluster["nodes"][1]["pid"])
    lost.kill()
    told = spectrum("cluster", "status", "--json")
    assert told.returncode == 1
    assert [node["alive"] for node in json.loads(told.stdout)["nodes"]] == [True, False]
    again = spectrum("cluster", "up", "--json")
    assert again.returncode == 0, again.stderr
    assert [node["alive"] for node in json.loads(again.stdout)["nodes"]] == [True, True]
    keeper = psutil.Process(cluster["pid"])
    ours = [keeper, *keeper.children(recursive=True)]
    with subprocess.Popen(["sleep", "600"]) as other:
        down = spectrum("cluster", "down")
        assert down.returncode == 0, down.stderr
        assert not psutil.wait_procs(ours, timeout=30)[1]
        assert other.poll() is None
        other.kill()
    assert spectrum("cluster", "status").returncode == 1
