from __future__ import annotations

import pytest

from spectrum.report.overview import MAX_LINES, _lanes, draw_parallel, timed
from spectrum.report.theme import LIGHT, render


def line(number: int, started: str | None, seconds: float, **params: object) -> dict[str, object]:
    return {
        "number": number,
        "state": "complete",
        "started": started,
        "seconds": seconds,
        "params": params,
        "score": {"value": 0.5 + number / 100},
    }


def test_trials_are_timed_from_the_first_and_those_without_a_begin_are_left_out() -> None:
    lines = [
        line(0, "2026-01-05T09:01:00+00:00", 30.0),
        line(1, "2026-01-05T10:00:30+01:00", 7.0),
        line(2, None, 5.0),
    ]
    assert timed(lines) == [(0.0, 7.0, "complete"), (30.0, 30.0, "complete")]


def test_trials_that_ran_at_once_lie_in_lanes_of_their_own() -> None:
    rows = [(0.0, 100.0, "complete"), (0.0, 20.0, "pruned"), (21.0, 9.0, "failed")]
    assert _lanes(rows) == [0, 1, 1]


@pytest.mark.parametrize("number", [2, 3, MAX_LINES + 2])
def test_parameters_of_any_kind_and_absent_ones_can_be_drawn(number: int) -> None:
    lines = [
        line(
            n,
            None,
            1.0,
            rate=10.0**-n if n < 9 else 1.0,
            name="ab"[n % 2],
            **{"deep": n} if n % 3 else {},
        )
        for n in range(number)
    ]
    (svg,) = render(
        lambda theme: draw_parallel(
            theme,
            lines=lines,
            paths=["rate", "name", "deep"],
            logarithmic=frozenset({"rate"}),
            best=0,
        ),
        LIGHT,
        "svg",
    )
    assert svg.count(b"<image") == (number > MAX_LINES)
