"""One set, wanted by many at once, is made once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from spectrum.data.pipeline import Making, PrepareResult
from tests.unit.data.dying_tasks import attempts, make_or_die
from tests.unit.data.tiny_sets import content_of, prepare_tree

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

NUM_REQUESTS = 16


def test_of_sixteen_requests_for_one_set_one_makes_it_and_all_get_it(
    tiny_bids: Callable[..., Path], tmp_path: Path
) -> None:
    root, marks = tiny_bids(), tmp_path / "marks"
    marks.mkdir()
    together = threading.Barrier(NUM_REQUESTS)
    how = Making(make_run=partial(make_or_die, killers=(), times=0, marks=marks))

    def want(_: int) -> PrepareResult:
        together.wait()
        return prepare_tree(root, tmp_path / "shards", how=how)

    with ThreadPoolExecutor(NUM_REQUESTS) as pool:
        results = list(pool.map(want, range(NUM_REQUESTS)))
    assert sorted(attempts(marks).values()) == [1, 1, 1, 1]
    assert sum(not result.reused for result in results) == 1
    assert len({(result.shards, result.fingerprint) for result in results}) == 1
    content_of(results[0])
    assert not list((tmp_path / "shards").glob("*.lock*"))
