from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spectrum.training.compiling import CompiledForward
from spectrum.training.loop import fit_fold
from tests.unit.training.planted import halves, planted_data, tiny_config


def refusing(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
    raise RuntimeError("there is no compiler")


def test_a_model_that_cannot_be_compiled_is_called_as_it_is_and_says_why() -> None:
    model = nn.Linear(3, 2)
    forward = CompiledForward(model, backend=refusing)
    inputs = torch.randn(4, 3)
    assert torch.equal(forward(inputs), model(inputs))
    assert "torch.compile refused the model: BackendCompilerFailed" in forward.note
    assert "there is no compiler" in forward.note
    assert torch.equal(forward(inputs), model(inputs))


def test_a_model_that_is_compiled_has_nothing_to_say() -> None:
    model = nn.Linear(3, 2)
    forward = CompiledForward(model, backend="eager")
    inputs = torch.randn(4, 3)
    torch.testing.assert_close(forward(inputs), model(inputs))
    assert forward.note == ""


@pytest.mark.slow
def test_a_compiled_fit_gives_the_numbers_of_a_plain_one_dropout_included() -> None:
    data = planted_data()
    plain, compiled = (
        list(
            fit_fold(
                data,
                halves(data)[0],
                tiny_config(training__compile=on, model__drop_rate=0.1, training__batch_size=7),
            )
        )
        for on in (False, True)
    )
    for one, two in zip(plain, compiled, strict=True):
        assert two.training_loss == pytest.approx(one.training_loss, abs=1e-4)
        assert two.validation_loss == pytest.approx(one.validation_loss, abs=1e-4)
