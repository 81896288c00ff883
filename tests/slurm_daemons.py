"""A real Slurm on this machine for as long as a test needs it: munged, slurmctld, slurmd a node.

Everything lies in one folder, on free ports, and ends by its process id. Needs root, as slurmd
starts jobs, and Debian's slurm-wlm and munge.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "squeue", "srun")
START_S = 90.0
CREDENTIAL_S = 20
"""Slurm lets a requeued job begin only after its credentials have expired, 120 s by default."""


def what_is_missing() -> str | None:
    """Return why there can be no Slurm here, or None."""
    missing = [name for name in PROGRAMS if _path_of(name) is None]
    if missing:
        return f"{', '.join(missing)} not found: apt-get install slurm-wlm munge"
    if os.geteuid() != 0:
        return "slurmd needs root to start jobs"
    return None


@dataclass(frozen=True, slots=True)
class Slurm:
    """How to talk to the Slurm that runs."""

    folder: Path
    environment: Mapping[str, str]

    def call(self, *command: str, cwd: Path | None = None) -> str:
        """Run one of Slurm's commands; return what it prints."""
        done = subprocess.run(
            command, env=self.environment, cwd=cwd, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def job(self, number: str) -> dict[str, str]:
        """Return the fields that ``scontrol`` knows of a job."""
        words = self.call("scontrol", "--oneliner", "show", "job", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)


@contextmanager
def slurm_daemons(folder: Path, *, nodes: tuple[str, ...] = ("one",)) -> Iterator[Slurm]:
    """Run a Slurm whose nodes are all this machine; yields how to talk to it.

    Parameters
    ----------
    folder : for keys, sockets, states and logs; its path is to be short
    nodes : names of the nodes
    """
    for name in ("munge", "state", "log"):
        (folder / name).mkdir(parents=True, mode=0o755)
    _write_files(folder, nodes)
    environment = {
        **os.environ,
        "SLURM_CONF": str(folder / "slurm.conf"),
        "PATH": f"{os.environ['PATH']}:/usr/sbin",
    }
    slurm = Slurm(folder, environment)
    with ExitStack() as daemons:
        daemons.enter_context(_daemon(folder, "munged", _munged(folder), environment))
        _wait(lambda: (folder / "munge/socket").exists(), "munged")
        daemons.enter_context(_daemon(folder, "slurmctld", ["slurmctld", "-D"], environment))
        for node in nodes:
            daemons.enter_context(
                _daemon(folder, f"slurmd-{node}", ["slurmd", "-D", "-N", node], environment)
            )
        _wait(lambda: _num_idle(slurm) == len(nodes), f"slurmd ({folder / 'log'})")
        try:
            yield slurm
        finally:
            _end_jobs(slurm)


def _end_jobs(slurm: Slurm) -> None:
    """End what still runs, while there are daemons to do it."""
    for job in slurm.call("squeue", "--noheader", "--format=%A").split():
        slurm.call("scancel", job)
    _wait(lambda: not slurm.call("squeue", "--noheader"), "the end of all jobs")


def _munged(folder: Path) -> list[str]:
    parts = {"key-file": "key", "socket": "socket", "pid-file": "pid", "seed-file": "seed"}
    options = [f"--{option}={folder / 'munge' / name}" for option, name in parts.items()]
    return ["munged", "--foreground", "--force", *options]


def _write_files(folder: Path, nodes: tuple[str, ...]) -> None:
    key = folder / "munge/key"
    key.write_bytes(secrets.token_bytes(64))
    key.chmod(0o400)
    host = socket.gethostname()
    cpus = os.cpu_count() or 1
    memory_mib = psutil.virtual_memory().total // 2**20 // len(nodes) // 2
    lines = [
        "ClusterName=test",
        f"FirstJobId={_free_port()}",
        f"SlurmctldHost={host}(127.0.0.1)",
        f"SlurmctldPort={_free_port()}",
        "SlurmUser=root",
        "SlurmdUser=root",
        "AuthType=auth/munge",
        f"AuthInfo=socket={folder}/munge/socket,cred_expire={CREDENTIAL_S}",
        "CredType=cred/munge",
        "ProctrackType=proctrack/linuxproc",
        "TaskPlugin=task/none",
        "JobAcctGatherType=jobacct_gather/none",
        "AccountingStorageType=accounting_storage/none",
        "SelectType=select/cons_tres",
        "SelectTypeParameters=CR_Core",
        "MpiDefault=none",
        "SchedulerParameters=batch_sched_delay=1,sched_interval=5",
        "KillWait=30",
        "ReturnToService=2",
        f"StateSaveLocation={folder}/state",
        f"SlurmdSpoolDir={folder}/spool-%n",
        f"SlurmctldPidFile={folder}/slurmctld.pid",
        f"SlurmdPidFile={folder}/slurmd-%n.pid",
        f"SlurmctldLogFile={folder}/log/slurmctld",
        f"SlurmdLogFile={folder}/log/slurmd-%n",
        *(
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={_free_port()} "
            f"CPUs={cpus} RealMemory={memory_mib} State=UNKNOWN"
            for node in nodes
        ),
        f"PartitionName=test Nodes={','.join(nodes)} Default=YES MaxTime=INFINITE State=UP",
    ]
    (folder / "slurm.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")


@contextmanager
def _daemon(
    folder: Path, name: str, command: list[str], environment: Mapping[str, str]
) -> Iterator[None]:
    with (folder / "log" / f"{name}.out").open("wb") as log:
        process = subprocess.Popen(
            [_path_of(command[0]) or command[0], *command[1:]],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _num_idle(slurm: Slurm) -> int:
    try:
        return len(slurm.call("sinfo", "--noheader", "--Node", "--states=idle").splitlines())
    except RuntimeError:
        return 0


def _wait(is_there: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + START_S
    while not is_there():
        if time.monotonic() > end:
            raise RuntimeError(f"{what} did not start")
        time.sleep(0.2)


def _path_of(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
