import pytest
from pydantic import ValidationError

from protos.training import TrainingPlan, plan_of

SITES = frozenset(f"site{number}" for number in range(20))


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ({"strategy": "fedavg", "mu": 0.1}, "`mu` means nothing to the strategy fedavg"),
        ({"strategy": "fedprox"}, "needs a `mu`"),
        ({"strategy": "median", "trim": 0.1}, "`trim` means nothing"),
        ({"strategy": "median", "weighting": "patients"}, "`weighting` means nothing"),
        ({"strategy": "fedprox", "mu": 0.1, "tau": 0.1}, "`tau` means nothing"),
        ({"patience": 2}, "needs `keep"),
        ({"sites_per_round": 3, "quorum": 4}, "at most `sites_per_round`"),
        ({"quorum": 4, "enough": 3}, "at least `quorum`"),
        ({"strategy": "krum"}, "Input should be"),
        ({"trim": 0.5, "strategy": "trimmed_mean"}, "less than 0.5"),
        ({"beta1": 1.0, "strategy": "fedadam"}, "less than 1"),
        ({"moemntum": 0.9}, "Extra inputs"),
    ],
)
def test_a_plan_that_says_what_cannot_be_or_changes_nothing_is_refused(said, fault):
    with pytest.raises(ValidationError, match=fault):
        TrainingPlan.model_validate(said)


def test_a_plan_is_kept_as_text():
    plan = TrainingPlan(strategy="fedyogi", tau=0.01, patience=3, keep="best")

    assert plan_of(plan.to_text()) == plan
    assert plan_of("") == TrainingPlan() == plan_of(TrainingPlan().to_text())


def test_only_what_looks_at_updates_one_by_one_says_so():
    said = {each: TrainingPlan(strategy=each).sees_each_update for each in ("fedavg", "fedadam")}

    assert said == {"fedavg": False, "fedadam": False}
    assert TrainingPlan(strategy="median").sees_each_update
    assert TrainingPlan(strategy="trimmed_mean").sees_each_update


def test_each_round_draws_anew_whom_it_asks_and_all_get_their_turn():
    plan = TrainingPlan(sites_per_round=5, seed=3)

    drawn = [plan.asked("job", number, SITES) for number in range(1, 41)]

    assert all(len(each) == 5 and each < SITES for each in drawn)
    assert drawn == [plan.asked("job", number, SITES) for number in range(1, 41)]
    assert frozenset().union(*drawn) == SITES
    assert drawn[0] != TrainingPlan(sites_per_round=5, seed=4).asked("job", 1, SITES)
    assert plan.asked("job", 1, frozenset({"site1", "site2"})) == {"site1", "site2"}
