from math import log, sqrt

import pytest

from deploy.vendor.privacy import SIGMAS, what_if
from protos.job_manifest import parse_manifest

MANIFEST = parse_manifest("""
name = "a"
kind = "training"
purpose = "p"
label = "l"
rounds = 10
clip = 4.0
sigma = 0.08
cohort = [{ field = "Modality", values = ["CT"] }]
weights.w = { shape = [100, 100] }
""")


def test_each_choice_has_its_price_as_the_ledgers_will_have_it():
    (price,) = what_if(MANIFEST, [0.02], [10], hospitals=4)

    assert price.bits_a_round == pytest.approx(1 / (2 * 0.02**2 * log(2)))
    assert price.bits_in_all == pytest.approx(10 * price.bits_a_round)
    assert price.rho == pytest.approx(10 * 2 / 0.02**2)
    assert price.epsilon == pytest.approx(price.rho + 2 * sqrt(price.rho * log(1e6)))
    assert price.noise_over_update == pytest.approx(0.02 * 100)
    assert price.noise_over_mean == pytest.approx(0.02 * 100 / 2)
    assert price.default_policy == "allowed"


def test_without_noise_there_is_no_bound_and_the_default_policy_says_no():
    prices = {
        (p.sigma_over_clip, p.rounds): p for p in what_if(MANIFEST, SIGMAS, [10, 1000], hospitals=3)
    }

    assert len(prices) == 2 * len(SIGMAS)
    nothing = prices[0.0, 10]
    assert (nothing.bits_in_all, nothing.epsilon, nothing.noise_over_mean) == (None, None, 0.0)
    said = {key: price.default_policy for key, price in prices.items()}
    assert said[0.0, 10] == said[0.005, 10] == "too_little_noise"
    assert said[0.1, 10] == "allowed"
    assert said[0.1, 1000] == "too_many_rounds"
