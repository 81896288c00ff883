"""Work sent to a cluster from elsewhere: Ray jobs, with their working directory and their logs.

The jobs' door is the dashboard's HTTP. It takes the token that the cluster takes, and one that
answers without is used only where the user says so. What a job says of its environment can be read
by all who may use the cluster: no place for secrets. Not here: the work (``spectrum search``).
"""

from __future__ import annotations

import difflib
import http.client
import logging
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from spectrum.errors import LaunchError
from spectrum.launch.addresses import AUTO
from spectrum.launch.cluster import running_cluster
from spectrum.launch.guards import state_folder as own_folder
from spectrum.launch.guards import token_to_send
from spectrum.launch.joining import OPENS

__all__ = ["Job", "JobDoor"]

logger = logging.getLogger("spectrum.launch")

ADDRESS_VARIABLE: Final = "RAY_API_SERVER_ADDRESS"

PROBE_S: Final = 10.0
LOOK_S: Final = 2.0
"""Seconds between two looks at the log of a job."""

TO_TAKE_S: Final = 120.0
"""Seconds for a cluster that just came up to take a job."""

STOP_WAIT: Final = {"RAY_JOB_STOP_WAIT_TIME_S": "40"}
"""Seconds that Ray gives a job which is told to end, before it kills it. Ray's own 3 are too few
for a search, which may take 25 to end in order."""

NOT_YET: Final = "No available agent"
"""How the dashboard says that the processes which start jobs are not there yet."""

UNKNOWN: Final = "status code 404"
"""How Ray's client says that the dashboard knows no such job."""

LIKE: Final = 0.75
"""Likeness of two names, at most 1, from which one may be meant for the other; those that Ray
makes have the first ten of 26 letters in common."""

MAX_NEAR: Final = 3

OVER: Final = ("SUCCEEDED", "FAILED", "STOPPED")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as the cluster knows it.

    ``exit_code`` is that of its command, None where it has none.
    """

    job: str
    status: str
    command: str
    message: str
    exit_code: int | None

    @property
    def is_over(self) -> bool:
        """Whether it ended, in whatever way."""
        return self.status in OVER

    def to_json(self) -> dict[str, Any]:
        """Return what scripts may read."""
        return asdict(self)


class JobDoor:
    """The way to the jobs of a cluster.

    Parameters
    ----------
    address : ``http://HOST:PORT`` of the dashboard, or ``auto``: that of
        ``RAY_API_SERVER_ADDRESS``, or of ``spectrum cluster up``
    insecure : use one that demands no token too
    state_folder : folder of the token; None is ``~/.spectrum``

    Raises
    ------
    LaunchError
        Nobody answers there, it demands no token, or it has another one.
    """

    def __init__(
        self, address: str = AUTO, *, insecure: bool = False, state_folder: Path | None = None
    ) -> None:
        folder = state_folder or own_folder()
        self.address = _address(address, folder)
        token = token_to_send(folder, insecure=insecure)
        _check(self.address, token, insecure=insecure)
        from ray.job_submission import JobSubmissionClient

        self._client = _told(self.address, lambda: JobSubmissionClient(self.address))

    def submit(
        self, command: str, *, working_dir: Path | None, runtime_env: Mapping[str, Any]
    ) -> str:
        """Start a command on the cluster's head; return the name of the job.

        Parameters
        ----------
        command : of a shell
        working_dir : folder that is sent and becomes the command's own; None sends none
        runtime_env : of Ray; may be read by all who may use the cluster
        """
        variables = {**STOP_WAIT, **(runtime_env.get("env_vars") or {})}
        environment = {**runtime_env, "env_vars": variables}
        if working_dir is not None:
            environment["working_dir"] = str(working_dir)
        until = time.monotonic() + TO_TAKE_S
        while True:
            try:
                return str(
                    _told(
                        self.address,
                        lambda: self._client.submit_job(
                            entrypoint=command, runtime_env=environment
                        ),
                    )
                )
            except LaunchError as err:
                if NOT_YET not in str(err) or time.monotonic() > until:
                    raise
            time.sleep(LOOK_S)

    def job(self, name: str) -> Job:
        """Return a job by its name."""
        return _job(self._of(name, self._client.get_job_info))

    def jobs(self) -> list[Job]:
        """Return all jobs that were sent, the newest first."""
        found = _told(self.address, self._client.list_jobs)
        sent = [told for told in found if told.submission_id]
        return [_job(told) for told in sorted(sent, key=lambda t: -(t.start_time or 0))]

    def stop(self, name: str) -> None:
        """Ask a job to end; it is given the time to write what it has."""
        self._of(name, self._client.stop_job)

    def log(self, name: str) -> str:
        """Return what a job has printed so far."""
        return str(self._of(name, self._client.get_job_logs))

    def follow(self, name: str) -> Iterator[str]:
        """Yield what a job prints, until it is over."""
        num_seen = 0
        while True:
            is_over = self.job(name).is_over
            text = self.log(name)
            if text[num_seen:]:
                yield text[num_seen:]
            num_seen = len(text)
            if is_over:
                return
            time.sleep(LOOK_S)

    def _of(self, name: str, ask: Callable[[str], Any]) -> Any:
        """Ask about one job; an unknown name is told with those that may be meant."""
        try:
            return _told(self.address, lambda: ask(name))
        except LaunchError as err:
            if UNKNOWN not in str(err):
                raise
            known = [one.job for one in self.jobs()]
            raise LaunchError(_unknown(self.address, name, known)) from err


def _unknown(address: str, name: str, known: Sequence[str]) -> str:
    holding = [one for one in known if name in one]
    near = (holding or difflib.get_close_matches(name, known, cutoff=LIKE))[:MAX_NEAR]
    if near:
        which = f"Is it {' or '.join(near)}? spectrum jobs list tells all"
    else:
        which = "spectrum jobs list tells those that were sent there"
    return f"The cluster at {address} knows no job {name}. {which}."


def _address(address: str, folder: Path) -> str:
    if address != AUTO:
        return address if "://" in address else f"http://{address}"
    own = running_cluster(folder)
    found = os.environ.get(ADDRESS_VARIABLE) or (own.dashboard if own else None)
    if found is None:
        raise LaunchError(
            f"No cluster is known here. Give --address http://HOST:8265, set {ADDRESS_VARIABLE}, "
            "or start one with spectrum cluster up."
        )
    return found


def _check(address: str, token: str | None, *, insecure: bool) -> None:
    if _status(address, None) == http.HTTPStatus.OK:
        if not insecure:
            raise LaunchError(
                f"The dashboard at {address} answers without a token, so that {OPENS}. Start all "
                "nodes with RAY_AUTH_MODE=token, or use it as it is with --insecure."
            )
        logger.warning("%s demands no token: %s.", address, OPENS)
    elif token is None or _status(address, token) != http.HTTPStatus.OK:
        raise LaunchError(
            f"The dashboard at {address} does not take this token. Copy the one of its head here, "
            "with chmod 600, and name the file as RAY_AUTH_TOKEN_PATH."
        )


def _status(address: str, token: str | None) -> int:
    """Ask for the jobs, with a token or as anyone could; return the HTTP status."""
    if urllib.parse.urlsplit(address).scheme not in ("http", "https"):
        raise LaunchError(f"{address} is no address of a dashboard. Give http://HOST:PORT.")
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"{address}/api/jobs/", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=PROBE_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as err:
        return err.code
    except (OSError, ValueError, http.client.HTTPException) as err:
        raise LaunchError(
            f"No dashboard answers at {address} ({err}). Give the address of the head's, "
            "http://HOST:8265 unless it was started with another port, through a tunnel where it "
            "is bound to loopback: ssh -L 8265:localhost:8265 HEAD."
        ) from err


def _told(address: str, call: Any) -> Any:
    try:
        return call()
    except Exception as err:
        # Ray's client raises RuntimeError for whatever the dashboard says.
        told = " ".join(str(err).split())[:300]
        raise LaunchError(f"The cluster at {address} did not do it: {told}") from err


def _job(told: Any) -> Job:
    return Job(
        job=str(told.submission_id),
        status=str(getattr(told.status, "value", told.status)),
        command=str(told.entrypoint),
        message=str(told.message or ""),
        exit_code=told.driver_exit_code,
    )
