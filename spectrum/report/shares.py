"""Importance of parameters by each method, as a report shows it, and what was left out for speed.

Not here: the methods (``spectrum.search.importance``, ``spectrum.search.shapley``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from spectrum.search.importance import MAX_FANOVA_TRIALS, MIN_TRIALS_FOR_IMPORTANCE, importances
from spectrum.search.shapley import MAX_EXPLAINED, ShapleyShares, shapley_shares
from spectrum.search.view import StudyView

__all__ = ["Shares", "shares_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """Share of each parameter by method, the first of which orders parameters on the page.

    ``notes`` say how far the shares can be trusted, a sentence each.
    """

    by_method: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def first(self) -> Mapping[str, float]:
        """Shares by the first method; empty where there is none."""
        return next(iter(self.by_method.values()), {})


def shares_of(study: StudyView, *, given: Mapping[str, float] | None = None) -> Shares:
    """Return the shares by PED-ANOVA, fANOVA and Shapley, as far as the study has enough trials.

    Parameters
    ----------
    study : the first two methods need its journal
    given : shares by PED-ANOVA where they are known
    """
    has_journal = (study.path / "optuna.journal").is_file()
    found = {"PED-ANOVA": given or {}}
    if has_journal and given is None:
        found["PED-ANOVA"] = importances(study.path)
    if has_journal:
        found["fANOVA"] = importances(study.path, method="fanova")
    shapley = _shapley(study)
    found["Shapley"] = shapley.shares if shapley else {}
    num_complete = len(study.complete)
    return Shares(
        by_method={method: shares for method, shares in found.items() if shares},
        notes=(*_trust(shapley), *_left_out(num_complete, bool(found.get("fANOVA")), shapley)),
    )


def _shapley(study: StudyView) -> ShapleyShares | None:
    complete = study.complete
    if len(complete) < MIN_TRIALS_FOR_IMPORTANCE:
        return None
    points = [line["params"] for line in complete]
    return shapley_shares(points, [line["score"]["value"] for line in complete])


def _trust(shapley: ShapleyShares | None) -> tuple[str, ...]:
    if shapley is None:
        return ()
    doubt = ": it explains little, so that its shares tell little" if shapley.r2 < 0.2 else ""
    return (
        "The forest behind the Shapley shares predicts trials that it left out with "
        f"R2 = {shapley.r2:.2f}{doubt}.",
    )


def _left_out(
    num_complete: int, has_fanova: bool, shapley: ShapleyShares | None
) -> tuple[str, ...]:
    """Return of how many trials each forest knows, where it is not all of them."""
    told = []
    if has_fanova and num_complete > MAX_FANOVA_TRIALS:
        told.append(f"fANOVA was computed from {MAX_FANOVA_TRIALS} of them")
    if shapley is not None and num_complete > MAX_EXPLAINED:
        told.append(f"Shapley explains {MAX_EXPLAINED} of them")
    if not told:
        return ()
    return (f"Of {num_complete} complete trials, drawn at random: {'; '.join(told)}.",)
