"""An objective that does nothing, and the shared parts of benchmarks over many empty trials."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

from spectrum.config import TrialConfig
from spectrum.records import TrialEpochRecord
from spectrum.search.space import SearchSpace, space_from_mapping
from spectrum.search.trials import TrialEnd
from tests.benchmarks.telling import measured_here
from tests.unit.search.fakes import epoch_record, planted_score, trial_end

__all__ = ["NUM_REPORTS", "NoOpObjective", "no_op_space", "sum_over_workers", "told"]

NUM_REPORTS = 2
"""Epochs of a trial: one that the pruner judges, and the last."""


class NoOpObjective:
    """Reports a planted score at each epoch and does nothing else, but for sleeping."""

    def __init__(self, seconds_per_trial: float = 0.0) -> None:
        self.seconds_per_epoch = seconds_per_trial / NUM_REPORTS

    def __call__(
        self, number: int, config: TrialConfig, *, rank: int = 0
    ) -> Generator[TrialEpochRecord, None, TrialEnd]:
        value = planted_score(config)
        for epoch in range(NUM_REPORTS):
            time.sleep(self.seconds_per_epoch)
            if config.training.workers > 1:
                sum_over_workers()
            yield epoch_record(epoch, value, finished=epoch == NUM_REPORTS - 1)
        return trial_end(number, value)


def sum_over_workers() -> None:
    """Sum a number over the workers of a trial."""
    import torch

    torch.distributed.all_reduce(torch.ones(1))


def no_op_space(*, num_workers: int = 1, **study: Any) -> SearchSpace:
    """Ten parameters, by the defaults of a study: TPE and successive halving."""
    return space_from_mapping(
        {
            "name": "no-op",
            "base": {"training": {"num_epochs": NUM_REPORTS, "workers": num_workers}},
            "study": {
                "pruner": {"rule": "halving", "min_epochs": 1},
                "rerun": {"top": 0},
                **study,
            },
            "parameters": {
                "preprocessing.fwhm_mm": {"choice": [0, 4, 6, 9]},
                "preprocessing.high_pass_hz": {"choice": [0.0, 0.008]},
                "preprocessing.standardization": {"choice": ["zscore", "percent"]},
                "optimizer.lr": {"log_uniform": [1e-4, 1e-2]},
                "optimizer.weight_decay": {"log_uniform": [1e-4, 1e-1]},
                "model.num_heads": {"choice": [2, 4, 8]},
                "model.depth": {"int": [1, 6]},
                "model.drop_rate": {"uniform": [0.0, 0.5]},
                "training.noise_std": {"uniform": [0.0, 1.0]},
                "model.temporal_pooling": {"choice": ["mean", "attention"]},
            },
        }
    )


def told(benchmark: str, case: str, **row: Any) -> dict[str, Any]:
    """Return a row of a benchmark: ours, peer, ratio, goal and met, with machine and date."""
    return {
        "benchmark": benchmark,
        "case": case,
        **row,
        **measured_here(),
    }
