"""A value that follows from another one, so that the two cannot disagree.

Three forms, each one step from one path: the same value, a multiple, a table. Together they make
what goes with a searched value (a stride with a length, heads with a width, a batch with a size),
and nothing in a file is ever evaluated. Not here: sums and products of two parameters, for which
no use was found; and when values are derived (``space``).
"""

from __future__ import annotations

import math
from typing import Any, Self

from pydantic import Field, model_validator

from spectrum.config.frozen import FrozenConfig
from spectrum.errors import ConfigError

__all__ = ["DerivedValue"]


class DerivedValue(FrozenConfig):
    """How a value is made from that of another path: exactly one of equals, times and lookup."""

    equals: str | None = None
    """Config path whose value is taken."""

    times: str | None = None
    """Config path whose value is multiplied by ``by``."""

    by: float | None = Field(default=None, gt=0.0)
    """Factor of ``times``. A field of whole numbers takes the nearest one, halves go up."""

    lookup: str | None = None
    """Config path whose value is looked up in ``values``."""

    values: dict[Any, Any] | None = None
    """Derived value for each value of ``lookup``."""

    @model_validator(mode="after")
    def _is_one_form(self) -> Self:
        forms = [name for name in ("equals", "times", "lookup") if getattr(self, name)]
        if len(forms) != 1:
            raise ValueError(
                f"A derived value has {len(forms)} of equals, times and lookup; give exactly one"
            )
        for form, partner in (("times", "by"), ("lookup", "values")):
            if (form in forms) != (getattr(self, partner) is not None):
                raise ValueError(f"{partner} goes with {form}, and {form} needs it")
        return self

    @property
    def source(self) -> str:
        """The config path that it follows from."""
        source = self.equals or self.times or self.lookup
        assert source is not None
        return source

    def value_for(self, value: Any, *, is_whole: bool) -> Any:
        """Return the derived value.

        Parameters
        ----------
        value : of the source
        is_whole : whether the derived field holds whole numbers

        Raises
        ------
        ConfigError
            ``values`` lacks the source's value, or it is no number where one is multiplied.
        """
        if self.equals is not None:
            return value
        if self.by is not None:
            return _multiplied(value, self.by, self.source, is_whole=is_whole)
        assert self.values is not None
        if value not in self.values:
            known = ", ".join(str(known) for known in self.values)
            raise ConfigError(
                f"{self.source} can be {value}, and the lookup has values for {known} only. "
                "Add one."
            )
        return self.values[value]

    def __str__(self) -> str:
        """Write it in one line."""
        if self.by is not None:
            return f"{self.source} times {self.by:g}"
        if self.values is not None:
            pairs = ", ".join(f"{value}: {derived}" for value, derived in self.values.items())
            return f"by {self.source} from {{{pairs}}}"
        return self.source


def _multiplied(value: Any, factor: float, source: str, *, is_whole: bool) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{source} is {value}, no number that could be multiplied.")
    product = value * factor
    return math.floor(product + 0.5) if is_whole else product
