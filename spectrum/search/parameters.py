"""One searched parameter: the values it may take, when it counts, and how a sampler is asked.

Not here: which config path it belongs to (``space``). Knows samplers only as a protocol.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, Final, Protocol, Self

from pydantic import Field, model_serializer, model_validator

from spectrum.config.frozen import FrozenConfig
from spectrum.errors import ConfigError

__all__ = ["Parameter", "TrialLike"]

KINDS: Final = ("choice", "ordered", "int_", "uniform", "log_uniform")

STEP_TOLERANCE: Final = 1e-9
"""Share of a step by which a stepped value may be off."""


class TrialLike(Protocol):
    """What a parameter asks for a value; Optuna's trials have these methods."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Return one of the choices."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        """Return a whole number between the ends, both included."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """Return a number between the ends, both included."""


class Parameter(FrozenConfig):
    """Values of one config path: exactly one of choice, ordered, int, uniform and log_uniform."""

    choice: tuple[Any, ...] | None = None
    """Values without an order; lists are values too."""

    ordered: tuple[Any, ...] | None = None
    """Values in an order that counts, smallest or weakest first: a sampler sees their places, a
    whole number, and so expects neighbours to score alike."""

    int_: tuple[int, int] | None = Field(default=None, alias="int")
    """Lowest and highest whole number."""

    uniform: tuple[float, float] | None = None
    """Lowest and highest number."""

    log_uniform: tuple[float, float] | None = None
    """Lowest and highest number, searched on a logarithmic scale."""

    step: float | None = Field(default=None, gt=0.0)
    """Distance of the values of ``int`` and ``uniform``."""

    when: dict[str, Any] = Field(default_factory=dict)
    """Config paths and the value (or list of values) each must have; otherwise the base value of
    this parameter holds. A path above that has a condition of its own counts with the value that
    is in force: its base value where its condition is not met."""

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        kinds = [name for name in KINDS if getattr(self, name)]
        if len(kinds) != 1:
            raise ValueError(
                f"A parameter has {len(kinds)} of choice, ordered, int, uniform and log_uniform; "
                "give exactly one"
            )
        self._check_step(kinds[0])
        self._check_ends()
        return self

    def _check_step(self, kind: str) -> None:
        if self.step is None:
            return
        if kind not in ("int_", "uniform"):
            raise ValueError("step goes with int or uniform only")
        low, high = self.ends
        num_steps = (high - low) / self.step
        if abs(num_steps - round(num_steps)) > STEP_TOLERANCE or (
            kind == "int_" and self.step != int(self.step)
        ):
            raise ValueError(
                f"step {self.step:g} does not lead from {low:g} to {high:g}; choose one that does"
            )

    def _check_ends(self) -> None:
        if self.options is None:
            low, high = self.ends
            if low >= high or (self.log_uniform is not None and low <= 0):
                raise ValueError(
                    f"The range [{low:g}, {high:g}] is empty or not positive; "
                    "give the lower end first, above 0 for log_uniform"
                )
        elif len({_plain(value) for value in self.options}) < len(self.options):
            raise ValueError(f"The choices {list(self.options)} repeat one; name each once")

    @model_serializer
    def _as_written(self) -> dict[str, Any]:
        named: dict[str, Any] = {"choice": self.choice, "ordered": self.ordered, "int": self.int_}
        named |= {"uniform": self.uniform, "log_uniform": self.log_uniform, "step": self.step}
        named |= {"when": self.when or None}
        return {name: value for name, value in named.items() if value is not None}

    @property
    def options(self) -> tuple[Any, ...] | None:
        """The values that are named one by one; None for a range."""
        return self.choice if self.choice is not None else self.ordered

    @property
    def ends(self) -> tuple[float, float]:
        """Lowest and highest value of a range."""
        ends = self.int_ or self.uniform or self.log_uniform
        assert ends is not None
        return ends

    @property
    def values(self) -> tuple[Any, ...] | None:
        """All values, in order; None for a continuous range."""
        if self.options is not None:
            return self.options
        if self.int_ is not None:
            return tuple(range(self.int_[0], self.int_[1] + 1, int(self.step or 1)))
        if self.uniform is not None and self.step is not None:
            low, step = self.uniform[0], self.step
            return tuple(low + k * step for k in range(round((self.uniform[1] - low) / step) + 1))
        return None

    def contains(self, value: Any) -> bool:
        """Return whether a value is one of this parameter's."""
        if self.options is not None:
            return _plain(value) in {_plain(option) for option in self.options}
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        low, high = self.ends
        if not low <= value <= high:
            return False
        step = self.step or (1 if self.int_ else None)
        return step is None or math.isclose(
            (value - low) / step, round((value - low) / step), abs_tol=STEP_TOLERANCE
        )

    def encode(self, value: Any) -> Any:
        """Return a value as a sampler holds it: its place in an order; lists as JSON text.

        Raises
        ------
        ConfigError
            Where the order has no such value.
        """
        if self.ordered is None:
            return _plain(value)
        places = [_plain(option) for option in self.ordered]
        if _plain(value) not in places:
            raise ConfigError(f"{value} is none of {self}. Take one of these.")
        return places.index(_plain(value))

    def nearest(self, value: Any, allowed: Sequence[Any]) -> Any:
        """Return what stands for a value that is not allowed.

        Where the values have an order, the allowed one whose place is nearest, the lower of two;
        where they have none, the next allowed one in the order of the file, after the last the
        first.

        Parameters
        ----------
        value : one of ``values``
        allowed : some of ``values``, at least one
        """
        values = [_plain(v) for v in self.values or ()]
        place = values.index(_plain(value))
        places = [values.index(_plain(v)) for v in allowed]
        if self.choice is not None:
            num = len(values)
            return allowed[min(range(len(places)), key=lambda k: (places[k] - place) % num)]
        return allowed[min(range(len(places)), key=lambda k: (abs(places[k] - place), places[k]))]

    def suggest(self, path: str, trial: TrialLike) -> Any:
        """Ask a sampler for this parameter's value."""
        if self.ordered is not None:
            return self.ordered[trial.suggest_int(path, 0, len(self.ordered) - 1)]
        if self.choice is not None:
            encoded = [self.encode(value) for value in self.choice]
            return self.choice[encoded.index(trial.suggest_categorical(path, encoded))]
        if self.int_ is not None:
            return trial.suggest_int(path, *self.int_, step=int(self.step or 1))
        low, high = self.ends
        return trial.suggest_float(
            path, low, high, step=self.step, log=self.log_uniform is not None
        )

    def __str__(self) -> str:
        """Write the values in one line."""
        if self.choice is not None:
            return "{" + ", ".join(str(value) for value in self.choice) + "}"
        if self.ordered is not None:
            return "{" + " < ".join(str(value) for value in self.ordered) + "}"
        step = f" step {self.step:g}" if self.step else ""
        log = " log" if self.log_uniform else ""
        return f"[{self.ends[0]:g}, {self.ends[1]:g}]{step}{log}"


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | tuple) else value
