"""The gate: whether a new model may replace the current one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recmodel.records import IMPLICIT, FeedbackKind, Measures
from recmodel.settings import Gate

_NO_MARGIN = Gate(rmse=0, accuracy=0)


def reasons_to_refuse(
    measures: Measures, baselines: Mapping[str, Measures], current: tuple[str, Measures] | None, margins: Gate
) -> list[str]:
    """Return why a new model must not become the current one; nothing if it may.

    It has to be better than each baseline, and worse than the current model by at most the margins, in RMSE and in
    top-100 accuracy, each where both were measured. All measures are of the same held-out ratings.

    Args:
        measures: those of the new model.
        current: the current version and its measures; None where there is none.
    """
    rivals = [(name, rival, _NO_MARGIN) for name, rival in baselines.items()]
    if current is not None:
        rivals.append((*current, margins))
    reasons = []
    for name, rival, margin in rivals:
        if measures.rmse is not None and rival.rmse is not None and measures.rmse > rival.rmse + margin.rmse:
            reasons.append(
                f"held-out RMSE {measures.rmse:.4f} is above {rival.rmse:.4f} of {name} plus {margin.rmse:g}"
            )
        accuracy, limit = measures.accuracy_at_100, rival.accuracy_at_100
        if accuracy is not None and limit is not None and accuracy < limit - margin.accuracy:
            reasons.append(
                f"held-out top-100 accuracy {accuracy:.4f} is below {limit:.4f} of {name} minus {margin.accuracy:g}"
            )
    return reasons


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
