"""``cluster/slurm/search.sbatch`` in a real Slurm: a study to its end, and through a requeue."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import yaml

from tests.integration.killable_study import space
from tests.slurm_daemons import Slurm, slurm_daemons, what_is_missing
from tests.tiny_bids import write_tiny_bids
from tests.unit.search.test_driver import lines_of

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1800)]

CHECKOUT = Path(__file__).parents[2]
PATIENCE_S = 800.0
SLURM_S_OWN = ("srun", "slurmstepd")
"""They listen for each other, whatever the job does."""

ENDED = ("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED", "NODE_FAIL", "OUT_OF_MEMORY")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path, as the sockets of Slurm and Ray need."""
    if (missing := what_is_missing()) is not None:
        pytest.skip(missing)
    path = Path(tempfile.mkdtemp(prefix="slurm", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def user(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The source tree, a space and a data set as a user has them; its home is apart."""
    tree = folder / "tree"
    tree.mkdir()
    (tree / "cluster").symlink_to(CHECKOUT / "cluster")
    write_tiny_bids(tree / "ds000002")
    written = {
        "name": "killable",
        "base": space().default_config.model_dump(mode="json", exclude_unset=True),
        "study": {"startup_trials": 3, "rerun": {"top": 0}},
        "parameters": {
            "model.embed_dim": {"choice": [8, 12, 16]},
            "optimizer.lr": {"log_uniform": [5e-4, 1e-2]},
        },
    }
    (tree / "space.yaml").write_text(yaml.safe_dump(written), encoding="utf-8")
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tree


def submit(slurm: Slurm, tree: Path, *options: str, trials: int) -> str:
    """Send the job as its README says; return its number."""
    sent = ["sbatch", "--parsable", "--job-name=joint", "--cpus-per-task=1", *options]
    what = ["cluster/slurm/search.sbatch", "space.yaml", "ds000002", "--trials", str(trials)]
    return slurm.call(*sent, *what, cwd=tree)


def wait_until(is_so: Callable[[], bool], slurm: Slurm, job: str, tree: Path) -> None:
    """Wait for something, unless the job ends first."""
    end = time.monotonic() + PATIENCE_S
    while not is_so():
        state = slurm.job(job)["JobState"]
        is_late = time.monotonic() > end
        assert state not in ENDED or is_so(), f"{state}\n{log_of(tree, job)}"
        assert not is_late, f"{state}\n{log_of(tree, job)}"
        time.sleep(1)


def has_ended(slurm: Slurm, job: str) -> Callable[[], bool]:
    """Return a function that tells whether a job has ended."""
    return lambda: slurm.job(job)["JobState"] in ENDED


def log_of(tree: Path, job: str) -> str:
    """Return what a job has printed."""
    path = tree / f"joint-{job}.out"
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def processes_of(slurm: Slurm, job: str) -> list[psutil.Process]:
    """Return the processes that have a job's environment, of this Slurm."""
    found = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except psutil.Error:
            continue
        same_slurm = environment.get("SLURM_CONF") == slurm.environment["SLURM_CONF"]
        if same_slurm and environment.get("SLURM_JOB_ID") == job:
            found.append(process)
    return found


def listening_on(processes: Sequence[psutil.Process]) -> set[str]:
    """Return the addresses on which processes listen, without Slurm's own."""
    found = set()
    for process in processes:
        with suppress(psutil.Error):
            if process.name() not in SLURM_S_OWN:
                sockets = process.net_connections("inet")
                found |= {one.laddr.ip for one in sockets if one.status == psutil.CONN_LISTEN}
    return found


def command_lines() -> list[str]:
    """Return what stands on the command line of every process of this machine."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            found.append(" ".join(process.cmdline()))
    return found


def num_done(tree: Path) -> int:
    """Return how many trials have ended."""
    lines = tree / "studies/joint/trials.jsonl"
    return len(lines.read_bytes().splitlines()) if lines.is_file() else 0


def numbers_of(tree: Path) -> list[int]:
    """Return the numbers of the trials that have ended, each as often as it has."""
    return sorted(line["number"] for line in lines_of(tree / "studies/joint"))


def check_nothing_is_left(slurm: Slurm, job: str, folder: Path) -> None:
    """No process, no token, no folder of Ray outlives a job."""
    end = time.monotonic() + 60
    while processes_of(slurm, job) and time.monotonic() < end:
        time.sleep(0.5)
    assert processes_of(slurm, job) == []
    assert not list((folder / ".spectrum").glob("*.token"))
    assert not list(Path("/tmp").glob(f"ray-{job}*"))


def test_one_node_runs_a_study_to_its_end_and_listens_on_loopback_alone(
    folder: Path, user: Path
) -> None:
    with slurm_daemons(folder) as slurm:
        job = submit(slurm, user, "--time=60", trials=3)
        wait_until(lambda: num_done(user) > 0, slurm, job, user)
        (token,) = (folder / ".spectrum").glob("*.token")
        secret, mode = token.read_text(encoding="utf-8"), token.stat().st_mode & 0o777
        listening = listening_on(processes_of(slurm, job))
        commands = command_lines()
        wait_until(has_ended(slurm, job), slurm, job, user)
        assert slurm.job(job)["ExitCode"] == "0:0", log_of(user, job)
        check_nothing_is_left(slurm, job, folder)
    assert numbers_of(user) == [0, 1, 2]
    assert (user / "studies/joint/report/index.html").is_file()
    assert mode == 0o600
    assert len(secret) == 64
    assert not any(secret in command for command in commands)
    assert secret not in log_of(user, job)
    assert listening
    assert listening <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_a_job_whose_time_ends_is_requeued_and_its_study_resumes_on_two_nodes(
    folder: Path, user: Path
) -> None:
    num_trials = 24
    with slurm_daemons(folder, nodes=("one", "two")) as slurm:
        options = ("--nodes=2", "--time=60", "--signal=B:USR1@60")
        job = submit(slurm, user, *options, trials=num_trials)
        wait_until(lambda: num_done(user) >= 2, slurm, job, user)
        hours, minutes, _ = slurm.job(job)["RunTime"].split(":")
        limit = int(hours) * 60 + int(minutes) + 1
        slurm.call("scontrol", "update", f"JobId={job}", f"TimeLimit={limit}")
        wait_until(lambda: slurm.job(job)["Restarts"] == "1", slurm, job, user)
        before = (user / "studies/joint/trials.jsonl").read_bytes()
        slurm.call("scontrol", "update", f"JobId={job}", "TimeLimit=60")
        wait_until(has_ended(slurm, job), slurm, job, user)
        told = log_of(user, job)
        assert slurm.job(job)["ExitCode"] == "0:0", told
        check_nothing_is_left(slurm, job, folder)
    assert told.count("2 of 2 nodes have joined.") == 2
    assert "start 1 of this job" in told
    assert "stopped by SIGUSR1" in told
    after = (user / "studies/joint/trials.jsonl").read_bytes()
    assert 2 <= len(before.splitlines()) < num_trials
    assert after.startswith(before)
    assert numbers_of(user) == list(range(num_trials))


def test_a_job_that_is_cancelled_leaves_nothing_on_its_nodes(folder: Path, user: Path) -> None:
    with slurm_daemons(folder, nodes=("one", "two")) as slurm:
        job = submit(slurm, user, "--nodes=2", "--time=60", trials=500)
        wait_until(lambda: num_done(user) > 0, slurm, job, user)
        assert sorted(Path("/tmp").glob(f"ray-{job}*")) == [
            Path(f"/tmp/ray-{job}"),
            Path(f"/tmp/ray-{job}.1"),
        ]
        slurm.call("scancel", job)
        wait_until(has_ended(slurm, job), slurm, job, user)
        check_nothing_is_left(slurm, job, folder)
    assert 0 < num_done(user) < 500
