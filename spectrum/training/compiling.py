"""A model that goes through ``torch.compile`` where that works, and says why where it does not.

torch compiles anew for the first batch of another size, and what it compiles depends on the sizes
seen before: after a stop, or in another order of folds, sums may be rounded otherwise. A compiled
fit is therefore not bit for bit that of an undisturbed one, as a plain fit is.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn

__all__ = ["CompiledForward"]


MAX_REASON: Final = 200
"""Characters of torch's account of a failure that are kept."""


class CompiledForward:
    """Calls a model compiled; after the first failure to compile, as it is.

    On a CPU dropout is the same as without. On a GPU it is drawn inside the compiled kernels, from
    a seed of torch's generator: the same again for the same seed, but other values than without.
    Weights stay those of the model; ``note`` says why it is not compiled, "" where it is.
    """

    def __init__(self, model: nn.Module, *, backend: Any = "inductor") -> None:
        # Here, since it takes seconds that a fit without it should not spend.
        from torch._dynamo.exc import TorchDynamoException

        self._refusal = TorchDynamoException
        self.note = ""
        self._model = model
        options: dict[str, Any] | None = None
        if backend == "inductor" and next(model.parameters()).device.type == "cpu":
            options = {"fallback_random": True}
        self._compiled = torch.compile(model, backend=backend, options=options)

    def __call__(self, *inputs: Any, **named: Any) -> Tensor:
        """Return what the model returns."""
        if not self.note:
            try:
                logits: Tensor = self._compiled(*inputs, **named)
            except self._refusal as err:
                reason = " ".join(f"{type(err).__name__}: {err}".split())[:MAX_REASON]
                self.note = (
                    f"training.compile is on, but torch.compile refused the model: {reason}. "
                    "It was trained without."
                )
            else:
                return logits
        plain: Tensor = self._model(*inputs, **named)
        return plain
