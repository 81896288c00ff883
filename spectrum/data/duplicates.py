"""Images that stand under two names, and the people who share them; found by content alone. Pure.

Which copy stays follows from what its name claims: copies that claim one task, session and run
differ in whose they are, copies that claim several cannot all be right. Not here: how digests are
measured (``images``), and how folds keep a person together (``held_out``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from spectrum.entities import RunKey

__all__ = ["Copies", "find_copies", "people_notes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """What equal images mean for a set of runs.

    ``refused`` gives a sentence for each run that may not be used; ``person_of`` the person of
    each group (data set and subject) that shares an image with another group, named after the
    first of them.
    """

    refused: Mapping[RunKey, str]
    person_of: Mapping[str, str]


def people_notes(names: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Return a sentence for each person with several names, from pairs of person and group."""
    groups_of: defaultdict[str, set[str]] = defaultdict(set)
    for person, group in names:
        groups_of[person].add(group)
    return tuple(
        f"{', '.join(sorted(groups))} share an image and are taken for one person: they stand on "
        "one side of every fold. Correct the names if they are not."
        for person, groups in sorted(groups_of.items())
        if person and len(groups) > 1
    )


def find_copies(digest_of_run: Mapping[RunKey, str]) -> Copies:
    """Return which runs are copies of others, and which groups are one person.

    Parameters
    ----------
    digest_of_run : digest of the voxels of each run; "" where it is not known

    Returns
    -------
    copies
        Of copies that agree in task, session and run the first by key stays. Where they disagree
        all are refused: the image has one true name, and nothing tells which.
    """
    alike: defaultdict[str, list[RunKey]] = defaultdict(list)
    for key in sorted(digest_of_run):
        if digest_of_run[key]:
            alike[digest_of_run[key]].append(key)
    several = [keys for keys in alike.values() if len(keys) > 1]
    refused = {key: sentence for keys in several for key, sentence in _refusals(keys)}
    return Copies(
        refused=refused, person_of=_people([{k.group for k in keys} for keys in several])
    )


def _refusals(keys: Sequence[RunKey]) -> Iterable[tuple[RunKey, str]]:
    claims = {(key.task, key.session, key.run_number) for key in keys}
    if len(claims) == 1:
        return [(key, _copy_of(key, keys[0])) for key in keys[1:]]
    return [(key, _ambiguous(key, [other for other in keys if other != key])) for key in keys]


def _copy_of(key: RunKey, first: RunKey) -> str:
    return (
        f"{key} has the same image as {first}. One of the two names is wrong or the file was "
        f"copied: {first} is used and this one is not; fetch it again or remove it."
    )


def _ambiguous(key: RunKey, others: Sequence[RunKey]) -> str:
    return (
        f"{key} has the same image as {', '.join(map(str, others))}. An image is of one run only "
        "and nothing tells of which, so none of them is used; fetch them again or remove the copy."
    )


def _people(shared: Iterable[set[str]]) -> dict[str, str]:
    """Join groups that share an image, directly or through others; name them after the first."""
    people: list[set[str]] = []
    for groups in shared:
        touching = [person for person in people if person & groups]
        people = [person for person in people if not person & groups]
        people.append(groups.union(*touching))
    return {group: min(person) for person in people if len(person) > 1 for group in person}
