"""Where the hospital's privacy budget stands: this year, by whom, and until when it lasts."""

from contextlib import closing
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

from gateway.cohort.cube import CHARGED_TO
from gateway.cohort.cube import price as price_of_cube
from gateway.cohort.forecast import advantage, lasts_until
from gateway.cohort.privacy import PrivacyLedger
from gateway.config import GatewayConfig
from gateway.policy import exact, load_policy


def privacy_status(config: GatewayConfig) -> dict[str, Any]:
    """Return what was spent of this year's budget; nothing here identifies a patient."""
    questions, today = load_policy(config.policy_file).questions, datetime.now(UTC).date()
    budget = exact(questions.rho_per_year)
    share = budget * exact(questions.requester_share)
    spenders = _spenders(config, today.year)
    spent = sum((rho for rho, _ in spenders.values()), Fraction(0))
    until = lasts_until(spent, budget, today)
    public = questions.public
    left = max(budget - spent, Fraction(0))
    return {
        "year": today.year,
        "budget": float(budget),
        "spent": float(spent),
        "left": float(left),
        "simple_questions_left": int(left * 2 * exact(questions.sigma) ** 2),
        "forecast": "lasts the year" if until is None else f"empty on {until.isoformat()}",
        "bound_on_one_patient": round(advantage(float(spent)), 4),
        "bound_when_empty": round(advantage(float(budget)), 4),
        "public_tables": {
            "enabled": public.enabled,
            "rho_each_quarter": float(price_of_cube(exact(public.sigma))),
        },
        "exact_projects": [
            {"project": each.project, "approved_by": each.approved_by, "until": each.until}
            for each in questions.exact
            if today <= each.until
        ],
        "spenders": [
            {
                "requester": name,
                "spent": float(rho),
                "answers": answers,
                "left": None if name == CHARGED_TO else float(max(share - rho, Fraction(0))),
            }
            for name, (rho, answers) in sorted(spenders.items(), key=lambda each: -each[1][0])
        ],
    }


def _spenders(config: GatewayConfig, year: int) -> dict[str, tuple[Fraction, int]]:
    if not config.privacy_file.exists():
        return {}
    with closing(PrivacyLedger.open(config.privacy_file, b"")) as privacy:  # it draws no noise here
        return privacy.spenders(year)
