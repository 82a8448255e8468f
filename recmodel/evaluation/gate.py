"""The gate: whether a new model may replace the current one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recmodel.evaluation.held_out import Outcomes
from recmodel.records import IMPLICIT, MEASURES, Difference, FeedbackKind
from recmodel.settings import Gate

NO_MARGIN = Gate(max_ndcg_loss=0, max_rmse_loss=0)


def compare(new: Outcomes, rival: Outcomes, margins: Gate, scale: float) -> list[Difference]:
    """Compare a new model with a rival on the same held-out ratings, by each measure that both have.

    Args:
        scale: the width of the rating scale, in stars.
    """
    differences = []
    for measure in MEASURES:
        if measure in new.by_measure and measure in rival.by_measure:
            low, high = new.interval_of_difference(rival, measure)
            value = rival.value(measure)
            allowed = margins.max_rmse_loss * scale if measure == "rmse" else margins.max_ndcg_loss * value
            values = {"new": new.value(measure), "rival": value, "low": low, "high": high, "allowed": allowed}
            differences.append(Difference(measure=measure, **values))
    return differences


def reasons_to_refuse(compared: Mapping[str, Sequence[Difference]]) -> list[str]:
    """Return why a new model must not become the current one; nothing if it may.

    It must not be worse than a rival by more than the margin, unless that may be chance: where the interval of the
    difference holds 0, other users might have said the opposite.

    Args:
        compared: by the names of the rivals.
    """
    return [
        f"held-out {MEASURES[found.measure]} {found.new:.4f} is worse than {found.rival:.4f} of {name} by more than "
        f"{found.allowed:.4f} (95 % interval of the difference {found.low:+.4f} to {found.high:+.4f})"
        for name, differences in compared.items()
        for found in differences
        if found.is_worse
    ]


def change_of_feedback(current: str, trained_on: FeedbackKind, now: FeedbackKind) -> str | None:
    """Return what it means that the current version was trained on feedback of another kind; None if it was not."""
    if trained_on == now:
        return None
    if now == IMPLICIT:
        return f"the current version {current} was trained on ratings, and this input has none, so none are predicted"
    return f"the current version {current} was trained on implicit feedback, and this input has ratings"


def lost_tasks(current: str, before: Sequence[str], now: Sequence[str]) -> tuple[str, ...]:
    """Return which of the tasks of the current version a new model was not trained for, as a reason each."""
    return tuple(
        f"it is not trained for {task}, as the current version {current} is" for task in before if task not in now
    )
