"""Does a search over several nodes stay as fast as on one, and when is its driver the limit?

    python -m tests.benchmarks.scaling --json

``nodes``: clusters of 1, 2 and 4 nodes on this machine run as many trials a node, which sleep;
with journal, halving (asked, and stopping none) and Aim. Told are the seconds from the first begin
to the last end, those from one trial to the next in a process, both beside those of one node, and
the CPU seconds of the driver's process. ``empty``: trials that do not sleep on one node, with few
reports and with many; what is told is what a trial and a report cost the driver. ``driver``: the
driver alone, without Ray, with 100 to 5,000 trials in its study; seconds on the clock and of the
CPU. ``--part`` does one of them.

What follows from the figures is in ``scaling.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from spectrum.config import TrialConfig
from spectrum.launch import bring_up, take_down
from spectrum.search.driver import StudyDriver
from spectrum.search.folder import StudyFolder

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.no_op_trials import no_op_space, told
from tests.benchmarks.scaling_plan import DriverCost, Moment, efficiency, round_s
from tests.benchmarks.telling import tell
from tests.unit.search.fakes import ListTracker, epoch_record, planted_score, trial_end

CHECKOUT = Path(__file__).parents[2]
NODES = (1, 2, 4)
FEW_REPORTS, MANY_REPORTS = 2, 12
SIZES = (100, 1000, 5000)
TO_TIME = 15
"""Trials that are timed at each size of a study."""


def on_nodes(
    folder: Path, num_nodes: int, slots: int, studies: Sequence[dict[str, Any]]
) -> Iterator[Any]:
    """Run studies one after the other on a cluster of our own; yield what each told.

    ``folder`` has the token of all clusters that this process brings up.
    """
    cluster = bring_up(
        num_nodes=num_nodes, cpus_per_node=slots, object_store_gib=0.2, state_folder=folder
    )
    try:
        for asked in studies:
            with tempfile.TemporaryDirectory() as study:
                yield run_study({**asked, "folder": study, "address": cluster.address})
    finally:
        take_down(folder)


def run_study(asked: dict[str, Any]) -> dict[str, Any]:
    load = os.getloadavg()[0]
    program = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.scaling_study", json.dumps(asked)],
        cwd=CHECKOUT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(program.stdout.splitlines()[-1])
    found["moments"] = [Moment(int(p), float(b), float(e)) for p, b, e in found["moments"]]
    return {**found, "load": [round(load, 1), round(os.getloadavg()[0], 1)]}


def rows_of_nodes(
    folder: Path, trials_per_node: int, seconds: float, slots: int
) -> Iterator[dict[str, Any]]:
    first: dict[str, float] = {}
    for num_nodes in NODES:
        num_trials = num_nodes * trials_per_node
        asked = {"num_trials": num_trials, "seconds": seconds, "num_reports": FEW_REPORTS}
        (found,) = on_nodes(folder, num_nodes, slots, [asked])
        times = times_of(found["moments"])
        first = first or times
        yield told(
            "scaling",
            f"{num_nodes} nodes of {slots}, {num_trials} trials of {seconds:g} s",
            **{name: round(value, 2) for name, value in times.items()},
            efficiency=round(efficiency(first["wall_s"], times["wall_s"]), 3),
            efficiency_later=round(efficiency(first["round_s"], times["round_s"]), 3),
            processes=len({moment.slot for moment in found["moments"]}),
            driver_cpu_s_per_trial=round(found["cpu_s"] / num_trials, 3),
            driver_cpu_share=round(found["cpu_s"] / found["tune_s"], 3),
            proposal_s=round(statistics.median(found["proposals"]), 4),
            load=found["load"],
        )


def times_of(moments: Sequence[Moment]) -> dict[str, float]:
    begins = [moment.begin for moment in moments]
    first_of_slot: dict[int, float] = {}
    for moment in moments:
        first_of_slot[moment.slot] = min(
            moment.begin, first_of_slot.get(moment.slot, float("inf"))
        )
    return {
        "wall_s": max(moment.end for moment in moments) - min(begins),
        "round_s": round_s(moments),
        "last_process_began_s": max(first_of_slot.values()) - min(begins),
    }


def rows_of_empty(folder: Path, num_trials: int, slots: int) -> Iterator[dict[str, Any]]:
    asked = [
        {"num_trials": num_trials, "seconds": 0.0, "num_reports": num_reports}
        for num_reports in (FEW_REPORTS, MANY_REPORTS)
    ]
    few, many = on_nodes(folder, 1, slots, asked)
    report_s = (many["cpu_s"] - few["cpu_s"]) / num_trials / (MANY_REPORTS - FEW_REPORTS)
    cost = DriverCost(
        trial_s=few["cpu_s"] / num_trials - FEW_REPORTS * report_s, report_s=report_s
    )
    yield told(
        "scaling",
        f"{num_trials} empty trials on one node of {slots}, CPU seconds of the driver",
        trial_s=round(cost.trial_s, 4),
        report_s=round(cost.report_s, 4),
        wall_s_per_trial=[round(found["tune_s"] / num_trials, 3) for found in (few, many)],
        aim_cpu_s_per_trial=[round(found["aim_s"] / num_trials, 3) for found in (few, many)],
        load=[few["load"], many["load"]],
    )


def rows_of_driver(folder: Path, sizes: Sequence[int]) -> Iterator[dict[str, Any]]:
    study = StudyFolder(folder / "alone")
    with study.locked():
        for size in sizes:
            fill(study, size - TO_TIME)
            yield row_of_driver(study, size)


def fill(study: StudyFolder, num_trials: int) -> None:
    """Bring a study to a number of trials, by a sampler that takes no time."""
    driver = StudyDriver(
        study, no_op_space(sampler="random"), ListTracker(), num_trials=num_trials
    )
    while (found := driver.next_trial()) is not None:
        run_trial(driver, found, {})


def row_of_driver(study: StudyFolder, size: int) -> dict[str, Any]:
    begin = time.perf_counter()
    driver = StudyDriver(study, no_op_space(), ListTracker(), num_trials=size)
    opening_s = time.perf_counter() - begin
    seconds: dict[str, list[float]] = {}
    while (found := timed(seconds, "proposal", driver.next_trial)) is not None:
        run_trial(driver, found, seconds)
    return told(
        "scaling",
        f"driver alone with {size} trials",
        **{f"{what}_s": round(statistics.median(of), 4) for what, of in seconds.items()},
        opening_s=round(opening_s, 2),
        journal_mib=round(study.journal.stat().st_size / 2**20, 2),
        folder_mib=round(
            sum(path.stat().st_size for path in study.path.rglob("*") if path.is_file()) / 2**20, 2
        ),
        load=round(os.getloadavg()[0], 1),
    )


def run_trial(
    driver: StudyDriver, found: tuple[int, dict[str, Any]], seconds: dict[str, list[float]]
) -> None:
    """Do what Ray Tune's calls make the driver do in a trial of two epochs."""
    number, config = found
    value = planted_score(TrialConfig.model_validate(config))
    timed(seconds, "start", lambda: driver.start(number))
    if not timed(seconds, "report", lambda: report(driver, number, value)):
        driver.log_epoch(number, epoch_record(1, value, finished=True))
        driver.conclude(number, trial_end(number, value))
    timed(seconds, "end", lambda: driver.finish(number))


def report(driver: StudyDriver, number: int, value: float) -> bool:
    record = epoch_record(0, value, finished=False)
    driver.log_epoch(number, record)
    is_stopped = driver.should_stop(number, record)
    _ = driver.status
    return is_stopped


def timed(seconds: dict[str, list[float]], what: str, action: Callable[[], Any]) -> Any:
    begin, cpu = time.perf_counter(), time.process_time()
    found = action()
    seconds.setdefault(what, []).append(time.perf_counter() - begin)
    seconds.setdefault(f"{what}_cpu", []).append(time.process_time() - cpu)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--part", choices=["nodes", "empty", "driver"], help="all when left out")
    parser.add_argument("--trials-per-node", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10.0, help="of a trial")
    parser.add_argument("--slots-per-node", type=int, default=2)
    parser.add_argument("--empty-trials", type=int, default=200)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        for row in rows(arguments, Path(name)):
            figures = {name: value for name, value in row.items() if name != "case"}
            tell(row, f"{row['case']}: {figures}", as_json=arguments.json)


def rows(arguments: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    slots = arguments.slots_per_node
    if arguments.part in (None, "nodes"):
        yield from rows_of_nodes(folder, arguments.trials_per_node, arguments.seconds, slots)
    if arguments.part in (None, "empty"):
        yield from rows_of_empty(folder, arguments.empty_trials, slots)
    if arguments.part in (None, "driver"):
        yield from rows_of_driver(folder, SIZES)


if __name__ == "__main__":
    main()
