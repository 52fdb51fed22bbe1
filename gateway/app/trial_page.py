"""The report of a dry run: one HTML file, complete in itself, for a data-protection officer."""

import json
from hashlib import sha256
from importlib import resources
from typing import Any

from gateway.app.trial import QUARANTINED, Trial
from gateway.deid.claims import dates, exceptions
from gateway.deid.engine import BASIC_CODE, OPTION_CODES

DATES = {
    "REMOVED": "Dates are removed.",
    "MODIFIED": "Dates are moved back, by one number of days for each patient; times stay.",
    "UNMODIFIED": "Dates stay as they were.",
}


def page(trial: Trial) -> str:
    """Return the page; every value in it is escaped, and no script runs in it."""
    from jinja2 import Environment

    source = (resources.files("gateway.app") / "trial.html").read_text("utf-8")
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        source
    )
    summary = trial.summary()
    signed = json.dumps([summary, [one.told() for one in trial.files]], ensure_ascii=False)
    return template.render(
        summary=summary,
        trial=trial,
        files=trial.files,
        shown=[one for one in trial.files if one.rows],
        risky=[one for one in trial.files if one.outcome == QUARANTINED],
        claims=_claims(trial),
        digest=sha256(signed.encode()).hexdigest(),
    )


def _claims(trial: Trial) -> dict[str, Any]:
    profile = trial.profile
    options = [meaning for name, (_, meaning) in OPTION_CODES.items() if _is_on(trial, name)]
    return {
        "methods": [BASIC_CODE[1], *options],
        "dates": DATES[dates(profile)],
        "age": profile.age_at_most,
        "looser": exceptions(profile),
        "overrides": [
            (keyword, override.action, override.reason)
            for keyword, override in sorted(profile.attributes.items())
        ],
        "source": profile.tables.source,
    }


def _is_on(trial: Trial, option: str) -> bool:
    return bool(getattr(trial.profile.options, option, False))
