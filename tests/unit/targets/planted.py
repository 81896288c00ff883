"""Rows, keys and whole tables of a small world of runs, for properties."""

from __future__ import annotations

from hypothesis import strategies as st

from spectrum.entities import RunKey
from spectrum.targets import ExclusionRule, RunRule

selections = st.fixed_dictionaries(
    {
        "dataset": st.sampled_from(["d", "dd"]),
        "task": st.sampled_from(["t", "tt"]),
        "run": st.sampled_from([None, 0, 1, 2, 10]),
        "session": st.sampled_from([None, "", "1", "01"]),
        "subject": st.sampled_from([None, "1", "01"]),
    }
)
rules = st.builds(
    lambda selection, name: RunRule(**selection, class_name=name, source="planted"),
    selections,
    st.sampled_from(["a", "b", "c"]),
)
exclusions = st.builds(
    lambda selection: ExclusionRule(**selection, reason="planted", source="planted"), selections
)
keys = st.builds(
    RunKey,
    dataset=st.sampled_from(["d", "dd"]),
    subject=st.sampled_from(["1", "01", "2"]),
    session=st.sampled_from(["", "1", "01"]),
    task=st.sampled_from(["t", "tt"]),
    run=st.sampled_from(["", "0", "1", "01", "2", "10"]),
)
EVERY_KEY = tuple(
    RunKey(dataset=dataset, subject=subject, session=session, task=task, run=run)
    for dataset in ("d", "dd")
    for subject in ("1", "01", "2")
    for session in ("", "1", "01")
    for task in ("t", "tt")
    for run in ("", "0", "1", "01", "2", "10")
)
