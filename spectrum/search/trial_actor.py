"""The process that runs trials for Ray Tune, one after the other, an epoch a step.

Not here: what a trial does (``objective``), and who decides on it (``driver``).
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from typing import Any

from ray import tune

from spectrum.config import TrialConfig
from spectrum.errors import SearchError
from spectrum.records import TrialEpochRecord
from spectrum.search.trials import Failure, Objective, ObjectiveMaker, TrialEnd

__all__ = ["TrialActor"]


class TrialActor(tune.Trainable):  # type: ignore[misc]
    """Runs one trial after the other in one process; a step is an epoch."""

    _objective: Objective | None = None
    _epochs: Generator[TrialEpochRecord, None, TrialEnd] | None = None

    def setup(self, config: dict[str, Any], make_objective: ObjectiveMaker | None = None) -> None:
        """Take the first trial; its first step builds the objective, as errors are told there."""
        self._make_objective = make_objective
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial and keep the process."""
        self.cleanup()
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Run one epoch; an error is a result, so that the process lives on."""
        try:
            return self._advance()
        except Exception as err:
            return {"failure": Failure(kind=type(err).__name__, message=str(err)), "done": True}

    def cleanup(self) -> None:
        """Give back what the trial holds."""
        if self._epochs is not None:
            self._epochs.close()
            self._epochs = None

    def _begin(self, config: Mapping[str, Any]) -> None:
        self._number = int(config["number"])
        self._trial_config = str(config["trial_config"])

    def _advance(self) -> dict[str, Any]:
        if self._epochs is None:
            if self._objective is None:
                assert self._make_objective is not None
                self._objective = self._make_objective()
            config = TrialConfig.model_validate(json.loads(self._trial_config))
            self._epochs = self._objective(self._number, config)
        record = next(self._epochs, None)
        if record is None:
            return {"done": True}
        result: dict[str, Any] = {"record": record, "epoch": record.epoch, "done": record.finished}
        if record.finished:
            result["end"] = _end_of(self._epochs)
        return {**result, "score": record.score.value}


def _end_of(epochs: Generator[TrialEpochRecord, None, TrialEnd]) -> TrialEnd:
    try:
        next(epochs)
    except StopIteration as stop:
        end: TrialEnd = stop.value
        return end
    raise SearchError("The trial went on after the record that says it finished.")
