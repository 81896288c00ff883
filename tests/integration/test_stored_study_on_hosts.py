"""A study in an object store on two hosts that share no disk but that of the data.

The hosts are network namespaces with an address each; on either the other's disk is an empty one
that takes nothing. A third machine, which took no part, has the store alone.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from spectrum.storage import ObjectStore
from spectrum.storage.generations import BOOK_NAME, read_book
from tests.faults.hosts import (
    HOSTS,
    MACHINE,
    PORT,
    environment_with_token,
    head_words,
    inside,
    node,
    two_hosts,
    wait_for_nodes,
    without,
)
from tests.integration.test_stored_study import BUCKET, SHARDS, STUDIES, facts
from tests.integration.test_two_nodes import RUNS, SPACE, Commands
from tests.s3_server import s3_environment, s3_process
from tests.tiny_bids import write_tiny_bids

pytestmark = [pytest.mark.ray, pytest.mark.slow]

FIRST, SECOND = HOSTS
ADDRESS = f"{HOSTS[FIRST]}:{PORT}"
NUM_TRIALS = 5
STUDY = f"{STUDIES}/both"
PARAMETERS = {
    "preprocessing.fwhm_mm": {"choice": [0, 6]},
    "training.workers": {"choice": [1, 2]},
}


@dataclass(frozen=True, slots=True)
class Lab:
    """Disks of two hosts and of a third machine, data that all see, and a store."""

    folder: Path
    environment: dict[str, str]

    def disk(self, name: str) -> Path:
        return self.folder / name

    def of(self, name: str) -> dict[str, str]:
        """Return the environment of a machine."""
        disk = str(self.disk(name))
        return {**self.environment, "HOME": disk, "SPECTRUM_STORAGE_CACHE": f"{disk}/cache"}

    def copy(self, name: str, what: str) -> Path:
        """Return a machine's working copy of the studies or the shards."""
        (found,) = self.disk(name).glob(f"cache/{BUCKET}-{what}-*")
        return found

    def sets(self, name: str) -> set[str]:
        return {path.parent.name for path in self.copy(name, "shards").glob("[!.]*/manifest.json")}


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """Two hosts on a bridge, and a store at this machine's address there."""
    # A socket of Ray must not have a long path.
    folder = Path(tempfile.mkdtemp(prefix="sps-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        try:
            stack.enter_context(two_hosts())
            subprocess.run(without(folder, "true"), check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as err:
            told = getattr(err, "stderr", "") or err
            pytest.skip(f"namespaces cannot be made here (root and ip are needed): {told}")
        store = s3_environment(stack.enter_context(s3_process(BUCKET, MACHINE)))
        for name in (FIRST, SECOND, "third"):
            (folder / name).mkdir()
        for name, value in store.items():
            monkeypatch.setenv(name, value)
        yield Lab(folder, environment_with_token(folder) | store)


@pytest.fixture
def cluster(lab: Lab) -> Iterator[None]:
    """Ray's nodes, one after the other: Ray gives each half a minute to start."""
    head, second = head_words(lab.folder), (f"--address={ADDRESS}",)
    with node(FIRST, lab.of(FIRST), *head, over=str(lab.disk(SECOND))):
        wait_for_nodes(FIRST, ADDRESS, lab.of(FIRST), number=1)
        with node(SECOND, lab.of(SECOND), *second, over=str(lab.disk(FIRST))):
            wait_for_nodes(FIRST, ADDRESS, lab.of(FIRST))
            yield


def search_words(lab: Lab) -> list[str]:
    """Write data and space, and return what every search of them is asked."""
    root = write_tiny_bids(lab.folder / "data/ds000002", RUNS)
    space = lab.folder / "data/both.yaml"
    space.write_text(yaml.safe_dump({**SPACE, "parameters": PARAMETERS}))
    return ["search", str(space), str(root), "--trials", str(NUM_TRIALS), "--json"]


def test_two_hosts_that_share_no_disk_make_the_study_that_one_makes_and_a_third_has_it_whole(
    lab: Lab, cluster: None
) -> None:
    asked = search_words(lab)
    on_first = Commands(lab.disk(FIRST), before=tuple(inside(FIRST, *without(lab.disk(SECOND)))))
    stored = ("--studies", STUDIES, "--shards", SHARDS)
    searched = on_first(*asked, "--address", ADDRESS, *stored, **lab.of(FIRST))
    assert searched.returncode == 0, searched.stderr

    study = lab.copy(FIRST, "studies") / "both"
    hosts = hosts_of(lab)
    assert set(hosts.values()) == {FIRST, SECOND}
    assert {fact[1] for fact in facts(study / "trials.jsonl")} == {"complete"}
    check_alone(lab, asked, study)
    check_sets(lab)
    check_third(lab, hosts)


def hosts_of(lab: Lab) -> dict[int, str]:
    """Return where each trial ran: the second host has the checkpoints of no other."""
    there = lab.copy(SECOND, "studies") / "both/trials"
    return {
        number: SECOND if (there / str(number) / "checkpoints").is_dir() else FIRST
        for number in range(NUM_TRIALS)
    }


def check_alone(lab: Lab, asked: list[str], study: Path) -> None:
    """The same study on one host with a plain disk has the same trials and scores."""
    (lab.folder / "alone").mkdir()
    done = Commands(lab.folder / "alone")(*asked, "--cpus", "2", OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    alone = lab.folder / "alone/studies/both"
    assert facts(study / "trials.jsonl") == facts(alone / "trials.jsonl")


def check_sets(lab: Lab) -> None:
    """Each set is stored once; a host that has it too knows it from there: it has fetched it."""
    store = ObjectStore(SHARDS)
    stored = {name.split("/")[0] for name in store.names() if not name.startswith(".")}
    on_both = lab.sets(FIRST) & lab.sets(SECOND)
    assert len(stored) == 2
    assert stored == lab.sets(FIRST) | lab.sets(SECOND)
    assert on_both
    for name in on_both:
        latest = store.get(f"{name}/latest.json", max_bytes=10**6)
        assert json.loads(latest or b"")["generation"] == 1
        first, second = (lab.copy(host, "shards") / name for host in HOSTS)
        assert read_book(first / BOOK_NAME).files == read_book(second / BOOK_NAME).files != {}
        assert files_below(first) == files_below(second)


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def check_third(lab: Lab, hosts: dict[int, str]) -> None:
    """A machine that has the store alone has all of the study, and each command of it works."""
    hidden = without(lab.disk(FIRST), *without(lab.disk(SECOND)))
    run = Commands(lab.disk("third"), before=tuple(hidden))

    def told(*words: str) -> dict[str, Any]:
        done = run(*words, "--json", **lab.of("third"))
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    assert not [name for name in ObjectStore(STUDY).names("trials") if "/state/" in name]
    told("study", "show", STUDY)
    study = lab.copy("third", "studies") / "both"
    assert facts(study / "trials.jsonl") == facts(lab.copy(FIRST, "studies") / "both/trials.jsonl")
    for number, host in hosts.items():
        made = files_below(lab.copy(host, "studies") / f"both/trials/{number}/checkpoints")
        assert sum(name.endswith("model.safetensors") for name in made) == 3
        assert files_below(study / f"trials/{number}/checkpoints") == made
    page = Path(told("report", STUDY, "--shards", SHARDS)["report"])
    assert "The shards of this study are not here" not in page.read_text()
    maps = ("--shards", SHARDS, "--method", "rollout", "--sequences", "1")
    assert told("attention", STUDY, *maps)["classes"]
    assert len(lab.sets("third")) == 1
