"""`radfed gateway privacy status`, on a gateway made by `init` and a ledger that was spent from."""

import json
from fractions import Fraction

import pytest
from typer.testing import CliRunner

from gateway.cli import gateway
from gateway.cohort.privacy import Price, PrivacyLedger

pytestmark = pytest.mark.flow


def test_the_hospital_sees_who_spent_its_budget(tmp_path):
    runner, data = CliRunner(), tmp_path / "data"
    config = tmp_path / "gateway.toml"
    made = runner.invoke(
        gateway,
        ["init", "--site", "tongji", "--data", str(data), "--config", str(config), "--json"],
    )
    assert made.exit_code == 0, made.output

    untouched = runner.invoke(gateway, ["privacy", "status", "-c", str(config), "--json"])
    privacy = PrivacyLedger.open(data / "privacy.db", b"k" * 32)
    for question, asker, rho in (("a", "org/li", "0.1"), ("b", "org/wu", "0.02")):
        price = Price(Fraction(rho), Fraction(1), Fraction(1))
        privacy.answer(question.encode(), asker, price, Fraction(10), lambda: {(): 5})
    privacy.close()
    spent = runner.invoke(gateway, ["privacy", "status", "-c", str(config), "--json"])
    drawn = runner.invoke(gateway, ["privacy", "status", "-c", str(config)])

    before, after = json.loads(untouched.output), json.loads(spent.output)
    assert (before["spent"], before["left"], before["spenders"]) == (0, 1, [])
    assert before["simple_questions_left"] == 200
    assert (after["spent"], after["left"]) == (0.12, 0.88)
    assert after["spenders"][0] == {
        "requester": "org/li",
        "spent": 0.1,
        "answers": 1,
        "left": 0.1,
    }
    assert after["forecast"]
    assert "org/wu" in drawn.output
