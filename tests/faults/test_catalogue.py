"""The catalogue of faults: each number once, each test there, and no fault passed over."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.__main__ import line
from tests.faults.catalogue import FAULTS, Fault

CHECKOUT = Path(__file__).parents[2]


def test_every_number_from_1_to_30_is_there_once() -> None:
    assert [fault.name for fault in FAULTS] == [f"F{number}" for number in range(1, 31)]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_has_tests_that_are_there_or_says_what_is_missing(fault: Fault) -> None:
    tests = fault.small + fault.full
    assert tests or fault.gap
    for test in tests:
        path, _, name = test.partition("::")
        assert (CHECKOUT / path).is_file(), path
        assert f"def {name}(" in (CHECKOUT / path).read_text() or not name, test


def test_what_no_test_injects_is_never_told_as_passed() -> None:
    row = {"fault": "F0", "what": "x", "tests": "", "seconds": 0.0, "gap": "why"}
    assert line({**row, "result": "not covered"}).endswith("not covered: why")
    assert line({**row, "result": "passed"}).endswith("not covered: why")
