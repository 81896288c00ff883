"""The process that runs trials for Ray Tune, one after the other, an epoch a step.

A trial of several workers it leads: they are processes of their own (``worker_group``).

Not here: what a trial does (``objective``), and who decides on it (``driver``).
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from typing import Any

from ray import tune

from spectrum.config import TrialConfig
from spectrum.records import TrialEpochRecord
from spectrum.search.losses import this_node
from spectrum.search.overdue import ended_after
from spectrum.search.placement import bundles_of
from spectrum.search.trials import Objective, ObjectiveMaker, TrialEnd, end_of, failure_of
from spectrum.search.worker_group import GroupObjective, TrialFailedError

__all__ = ["TrialActor"]


class TrialActor(tune.Trainable):  # type: ignore[misc]
    """Runs one trial after the other in one process; a step is an epoch."""

    _objective: Objective | None = None
    _epochs: Generator[TrialEpochRecord, None, TrialEnd] | None = None

    def setup(
        self,
        config: dict[str, Any],
        make_objective: ObjectiveMaker | None = None,
        gpus_per_worker: float = 0.0,
        epoch_minutes: float | None = None,
    ) -> None:
        """Take the first trial; its first step builds the objective, as errors are told there."""
        self._make_objective, self._gpus_per_worker = make_objective, gpus_per_worker
        self._epoch_s = None if epoch_minutes is None else 60.0 * epoch_minutes
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial and keep the process."""
        self._end_trial()
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Run one epoch; an error is a result, so that the process lives on."""
        try:
            return self._advance()
        except TrialFailedError as err:
            return {"failure": err.failure, "done": True}
        except Exception as err:
            return {"failure": failure_of(err), "done": True}

    def cleanup(self) -> None:
        """Give back what the trial holds, and end its workers where it has several."""
        self._end_trial()
        if isinstance(self._objective, GroupObjective):
            self._objective.close()

    def _end_trial(self) -> None:
        if self._epochs is not None:
            self._epochs.close()
            self._epochs = None

    def _begin(self, config: Mapping[str, Any]) -> None:
        self._number = int(config["number"])
        self._trial_config = str(config["trial_config"])

    def _build(self, num_workers: int) -> Objective:
        """Return what runs the trials here, all of as many workers as Tune reserved for."""
        assert self._make_objective is not None
        if num_workers == 1:
            return self._make_objective()
        *_, bundle = bundles_of(num_workers, self._gpus_per_worker)
        return GroupObjective(self._make_objective, gpus=bundle["GPU"], epoch_s=self._epoch_s)

    def _advance(self) -> dict[str, Any]:
        if self._epochs is None:
            config = TrialConfig.model_validate(json.loads(self._trial_config))
            self._objective = self._objective or self._build(config.training.workers)
            self._epochs, epoch_s = self._objective(self._number, config), None
        else:
            # Processes of a group watch themselves, as a group may be made anew in an epoch.
            epoch_s = None if isinstance(self._objective, GroupObjective) else self._epoch_s
        with ended_after(epoch_s):
            record = next(self._epochs, None)
        if record is None:
            return {"done": True}
        result: dict[str, Any] = {"record": record, "epoch": record.epoch, "done": record.finished}
        result["node"] = this_node()
        if record.finished:
            result["end"] = end_of(self._epochs)
        return {**result, "score": record.score.value}
