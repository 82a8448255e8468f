"""The gate that a new model has to pass."""

import numpy as np
import pytest

from recmodel import schemas as c
from recmodel.evaluation.gate import NO_MARGIN, compare, reasons_to_refuse
from recmodel.evaluation.held_out import Outcomes, of_baselines
from recmodel.evaluation.splits import Split
from recmodel.settings import Gate

MARGINS = Gate(max_ndcg_loss=0.1, max_rmse_loss=0.02)
SCALE = 4.5


def outcomes(users=400, rmse=0.8, ndcg=0.2, noise=0.0, seed=0):
    """Users who all have that error, and of whom a share finds the movie at the first place."""
    random = np.random.RandomState(seed)
    gain = (np.arange(users) < ndcg * users).astype(float)
    error = rmse**2 * np.ones(users) * np.exp(noise * random.randn(users))
    return Outcomes(
        {"rmse": error, "ndcg_at_10": gain, "ndcg_at_10_liked": np.where(np.arange(users) % 2, gain, np.nan)}
    )


def refused(new, rival, margins=MARGINS):
    return reasons_to_refuse({"v1": compare(new, rival, margins, SCALE)})


@pytest.mark.parametrize(
    ("rmse", "ndcg", "measures"),
    [
        (0.8, 0.2, []),
        (0.889, 0.2, []),  # the margin is 0.02 of 4.5 stars
        (0.891, 0.2, ["RMSE"]),
        (0.8, 0.185, []),  # a tenth of 0.2
        (0.8, 0.15, ["NDCG@10", "NDCG@10 of liked movies"]),
        (0.7, 0.4, []),
    ],
)
def test_a_model_may_be_worse_than_the_current_one_by_shares_of_the_scale_and_of_its_value(rmse, ndcg, measures):
    reasons = refused(outcomes(rmse=rmse, ndcg=ndcg), outcomes())
    assert [reason.split(" 0.")[0] for reason in reasons] == [f"held-out {measure}" for measure in measures]
    assert all("is worse than" in reason and "of v1 by more than" in reason for reason in reasons)


def test_noise_does_not_block():
    """Of a few users one more or less finds the movie: a quarter less, but it may be chance. Of many it is not."""
    for users, reasons in ((20, 0), (2000, 1)):
        new, rival = (
            Outcomes({"ndcg_at_10": outcomes(users, ndcg=ndcg).by_measure["ndcg_at_10"]}) for ndcg in (0.15, 0.2)
        )
        assert len(refused(new, rival)) == reasons


def test_without_a_margin_any_loss_that_is_no_chance_is_refused():
    assert len(refused(outcomes(rmse=0.801), outcomes(), NO_MARGIN)) == 1
    assert refused(outcomes(rmse=0.8, noise=1.0, seed=1), outcomes(rmse=0.8, noise=1.0, seed=2), NO_MARGIN) == []


def test_what_only_one_of_them_does_is_not_compared():
    assert compare(Outcomes({}), outcomes(), MARGINS, SCALE) == []


def test_baselines_are_measured_by_hand():
    """Everybody gives movie i the rating i, so biases predict without error; popular is what is not seen: movie 3."""
    fitted = {c.USER_ID: np.repeat([1, 2, 3], 2), c.MOVIE_ID: np.tile([1, 2], 3), c.RATING: np.tile([1.0, 2.0], 3),
              c.TIMESTAMP: np.zeros(6)}  # fmt: skip
    held_out = {c.USER_ID: np.array([1, 2]), c.MOVIE_ID: np.array([3, 4]), c.RATING: np.array([1.5, 4.5])}
    measured = of_baselines(Split(fitted, held_out, np.arange(1, 200)), liked_from=4.0)
    biases, popular = measured["mean and biases"].measures, measured["popularity"].measures
    assert biases.rmse == pytest.approx(np.sqrt(3.0**2 / 2))
    assert popular.ndcg_at_10 == pytest.approx((1 + 1 / np.log2(3)) / 2)  # at the first and the second place
    assert popular.ndcg_at_10_liked == pytest.approx(1 / np.log2(3))
    assert popular.intervals["ndcg_at_10"] == pytest.approx((1 / np.log2(3), 1))
    assert popular.rmse is None
