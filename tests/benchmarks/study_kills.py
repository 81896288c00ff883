"""What is left of a study whose driver is killed at random moments, again and again?

    python -m tests.benchmarks.study_kills --kills 20 --json
    python -m tests.benchmarks.study_kills --kills 1 --trials 3 --signals SIGTERM

A study of real small trainings on a tiny BIDS tree, under Ray, with Aim: once its driver is ended
by SIGKILL again and again, then once by each signal that it handles, each time at a random moment
after a report; what is left is continued to the end. Told are trials that are missing or more than
once in the record, the journal or Aim, those the journal leaves RUNNING, and the epochs of a
running trial that were reported and have to be trained again, the most over all ends. ``peer`` is
what there may be.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from spectrum.search.folder import STATE_NAME, StudyFolder

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.no_op_trials import told
from tests.benchmarks.telling import tell
from tests.tiny_bids import TASK, write_tiny_bids
from tests.unit.search.test_driver import lines_of, states_in_journal

CHECKOUT = Path(__file__).parents[2]
HANDLED = ("SIGINT", "SIGTERM", "SIGUSR1")
SECONDS_TO_END = 60.0
LONGEST_WAIT_S = 2.0
MARK = "SPECTRUM_KILLABLE_STUDY"
"""In the environment of the driver, and so of each process that it starts."""

LOOK = """
import json, sys
from pathlib import Path
from aim import Repo
from spectrum.tracking import index_repo
index_repo(Path(sys.argv[1]))
runs = [item.run for item in Repo.from_path(sys.argv[1]).query_runs("", report_mode=0).iter_runs()]
print(json.dumps([run.name for run in runs if "study" not in run.tags]))
"""


def write_data(root: Path) -> None:
    """Write two runs of each of three subjects, of unequal length."""
    runs = {(f"0{s}", TASK, f"0{r}"): 16 + s for s in (1, 2, 3) for r in (1, 2)}
    write_tiny_bids(root, runs)


class KillableStudy:
    """A study in a folder, begun or continued as a process of its own."""

    def __init__(
        self, folder: Path, root: Path, num_trials: int, *, at_once: int | None = None
    ) -> None:
        self.path, self.root, self.num_trials = folder / "studies" / "study", root, num_trials
        self.mark = str(self.path)
        self.more = () if at_once is None else ("1", str(at_once))
        self.path.parent.mkdir(parents=True)
        self.lost_epochs = 0

    def begin(self) -> subprocess.Popen[str]:
        arguments = (str(self.path), str(self.root), str(self.num_trials), *self.more)
        return subprocess.Popen(
            [sys.executable, "-m", "tests.integration.killable_study", *arguments],
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", MARK: self.mark},
        )

    def end_at_random(self, number: signal.Signals, rng: random.Random) -> int | None:
        """Begin, wait for a report and a while, send a signal; return the code, None if done."""
        process = self.begin()
        assert process.stdout is not None
        reports = (line for line in process.stdout if line.startswith("progress"))
        for _ in range(rng.randint(2, 6)):
            next(reports, None)
        time.sleep(rng.uniform(0.0, LONGEST_WAIT_S))
        if process.poll() is not None:
            return None
        process.send_signal(number)
        process.stdout.close()
        code = process.wait(SECONDS_TO_END)
        self.lost_epochs = max([self.lost_epochs, *self._lost()])
        return code

    def finish(self) -> None:
        process = self.begin()
        process.communicate()
        assert process.returncode == 0, process.returncode

    def _lost(self) -> Iterator[int]:
        """Yield for each unfinished trial the epochs reported that no state has."""
        folder = StudyFolder(self.path)
        ended = folder.read_trials()
        for path in folder.trials.glob("[0-9]*"):
            number = int(path.name)
            if number in ended:
                continue
            reported = len({record.epoch for record in folder.read_records(number)})
            kept = [
                json.loads(state.read_text())["content"]["epoch"]
                for state in (path / STATE_NAME).glob("*/state.json")
            ]
            yield max(0, reported - min(kept, default=0))

    def findings(self) -> dict[str, int]:
        """Return what is wrong with a study that has been continued to its end."""
        wanted = set(range(self.num_trials))
        recorded = Counter(line["number"] for line in lines_of(self.path))
        states = states_in_journal(self.path / "optuna.journal")
        names = Counter(self._names_in_aim())
        return {
            "trials not once in the record": _not_once(recorded, wanted),
            "trials not once in the journal": len(wanted ^ set(states)),
            "trials RUNNING in the journal": sum(s == "RUNNING" for s in states.values()),
            "trials not once in Aim": abs(len(names) - len(wanted)) + _repeated(names),
            "epochs lost by a running trial": self.lost_epochs,
        }

    def _names_in_aim(self) -> Sequence[str]:
        """Read the names of the runs in a process of its own, as a user's script does."""
        done = subprocess.run(
            [sys.executable, "-c", LOOK, str(self.path.parent)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            cwd=CHECKOUT,
        )
        found: list[str] = json.loads(done.stdout.splitlines()[-1])
        return found


def _not_once(counts: Counter[int], wanted: set[int]) -> int:
    return len(wanted ^ counts.keys()) + _repeated(counts)


def _repeated(counts: Counter[Any]) -> int:
    return sum(count > 1 for count in counts.values())


def killed(folder: Path, root: Path, num_trials: int, num_kills: int) -> Iterator[dict[str, Any]]:
    """End a study by SIGKILL so many times; a study that ends before begins anew."""
    rng, left, number = random.Random(0), num_kills, 0
    while left:
        study = KillableStudy(folder / str(number), root, num_trials)
        number += 1
        while left and study.end_at_random(signal.SIGKILL, rng) is not None:
            left -= 1
        study.finish()
        yield from rows(f"SIGKILL, {num_kills - left} so far", study.findings())


def signalled(folder: Path, root: Path, num_trials: int, name: str) -> Iterator[dict[str, Any]]:
    study = KillableStudy(folder / name, root, num_trials)
    number = signal.Signals[name]
    code = study.end_at_random(number, random.Random(1))
    study.finish()
    yield row(f"{name}: exit code", code, 128 + number, code == 128 + number)
    yield from rows(name, study.findings())


def rows(case: str, findings: dict[str, int]) -> Iterator[dict[str, Any]]:
    for what, count in findings.items():
        most = 1 if what.startswith("epochs") else 0
        yield row(f"{case}: {what}", count, most, count <= most)


def row(case: str, ours: int | None, most: int, met: bool) -> dict[str, Any]:
    return told("study_kills", case, ours=ours, peer=most, ratio=None, goal=str(most), met=met)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--signals", nargs="*", default=HANDLED, choices=HANDLED)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, root = Path(name), Path(name) / "ds000002"
        write_data(root)
        found = [killed(folder / "killed", root, arguments.trials, arguments.kills)]
        found += [signalled(folder, root, arguments.trials, each) for each in arguments.signals]
        for cases in found:
            for each in cases:
                text = f"{each['case']}: {each['ours']} (goal {each['goal']})"
                tell(each, text, as_json=arguments.json)


if __name__ == "__main__":
    main()
