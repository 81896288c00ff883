"""A study whose shards, checkpoints and folder are on an S3 server that goes away for a while."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from spectrum.cli import main
from spectrum.storage import ObjectStore
from tests.gate import Gate, gate_before
from tests.integration.test_study_whole import RUNS
from tests.s3_server import s3_environment, s3_process

BUCKET = "lab"
STUDIES, SHARDS = f"s3://{BUCKET}/studies", f"s3://{BUCKET}/shards"
GONE_S = 30.0


@pytest.fixture
def gate() -> Iterator[Gate]:
    """An S3 server in a process of its own, behind a gate."""
    with s3_process(BUCKET) as url, gate_before(url) as gate:
        yield gate


def begin(
    environment: Mapping[str, str], studies: str, shards: str, number: int, *words: str
) -> subprocess.Popen[str]:
    program = "tests.integration.stored_search"
    return subprocess.Popen(
        [sys.executable, "-m", program, studies, shards, str(number), *words],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout is not None
    for told in process.stdout:
        if told.startswith(line):
            return
    raise AssertionError(f"ended without {line!r}")


def facts(lines: Path) -> list[tuple[int, str, float, dict]]:
    told = [json.loads(line) for line in lines.read_text().splitlines()]
    return sorted(
        ((one["number"], one["state"], one["value"], one["params"]) for one in told),
        key=lambda fact: fact[0],
    )


def machine(gate: Gate, cache: Path) -> dict[str, str]:
    return {**s3_environment(gate.url), "SPECTRUM_STORAGE_CACHE": str(cache)}


def study_in(cache: Path) -> Path:
    (found,) = cache.glob("lab-studies-*/tiny")
    return found


@pytest.mark.ray
@pytest.mark.slow
def test_a_store_that_goes_away_and_a_machine_that_is_lost_cost_a_study_nothing(
    tmp_path: Path,
    tiny_bids: Callable[..., Path],
    gate: Gate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = str(tiny_bids(runs=RUNS))
    whole = begin({}, str(tmp_path / "studies"), str(tmp_path / "shards"), 6, root)
    assert whole.wait() == 0

    first, second = tmp_path / "first", tmp_path / "second"
    search = begin(machine(gate, first), STUDIES, SHARDS, 4, root)
    wait_for(search, "progress 1 ")
    gate.close()
    time.sleep(GONE_S)
    gate.open()
    output, _ = search.communicate(timeout=300)
    assert search.returncode == 0
    assert json.loads(output.splitlines()[-1]) is not None
    shutil.rmtree(first)

    search = begin(machine(gate, second), STUDIES, SHARDS, 6, root, "--resume")
    wait_for(search, "progress 5 ")
    os.killpg(search.pid, signal.SIGKILL)
    search.wait()
    assert begin(machine(gate, second), STUDIES, SHARDS, 6, root, "--resume").wait() == 0

    check_stored(study_in(second), tmp_path)
    for name, value in machine(gate, tmp_path / "third").items():
        monkeypatch.setenv(name, value)
    check_addresses(study_in(second), tmp_path / "third")


def check_stored(study: Path, tmp_path: Path) -> None:
    whole = tmp_path / "studies" / "tiny"
    assert facts(study / "trials.jsonl") == facts(whole / "trials.jsonl")


def check_addresses(study: Path, third: Path) -> None:
    stored = ObjectStore(f"s3://{BUCKET}")
    of_trials = stored.names("studies/tiny/trials")
    checkpoints = [name for name in of_trials if "model.safetensors" in name]
    assert {int(name.split("/")[3]) for name in checkpoints} == set(range(6))
    assert not [name for name in of_trials if "/state/" in name]
    assert len({name.split("/")[1] for name in stored.names("shards")}) == 2

    with pytest.raises(SystemExit) as end:
        main(["study", "show", f"{STUDIES}/tiny", "--json"])
    assert end.value.code == 0
    assert facts(study_in(third) / "trials.jsonl") == facts(study / "trials.jsonl")
    assert (study_in(third) / "best" / "trial.json").is_file()
    assert (study_in(third) / "trials" / "5" / "checkpoints").is_dir()
