"""The example settings are what the product reads."""

import configparser
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from coordinator.app.authority import Authority, read_draft
from coordinator.config import CoordinatorConfig
from coordinator.registry.custody import Custodian
from gateway.config import GatewayConfig, parse
from gateway.policy import parse_policy
from protos.job_manifest import parse_manifest, protocol_digest

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
EXAMPLES = DEPLOY / "examples"


def test_the_example_gateway_is_read():
    path = EXAMPLES / "gateway.toml"

    config = parse(path.read_text(), path)

    assert config.site == "tongji"
    assert [peer.ae_title for peer in config.intake.peers] == ["PACS", "CT2"]


def test_the_example_gateway_shows_the_defaults():
    path = EXAMPLES / "gateway.toml"

    shown = parse(path.read_text(), path)

    plain = GatewayConfig(site=shown.site, data=shown.data)
    assert shown.jobs == plain.jobs
    assert shown.disk == plain.disk
    assert shown.federation == plain.federation
    assert shown.intake.model_copy(update={"peers": ()}) == plain.intake


def test_the_example_policy_is_read():
    policy = parse_policy((EXAMPLES / "policy.toml").read_text())

    assert not policy.jobs.allow_no_noise
    assert policy.jobs.standing[0].vendor == policy.jobs.vendors[0].name


def test_the_example_test_can_be_submitted():
    manifest = parse_manifest((EXAMPLES / "test.toml").read_text())

    assert manifest.kind == "evaluation"
    assert manifest.protocol.design == "external"
    assert len(protocol_digest(manifest)) == 32


def test_the_example_manifest_can_be_signed(tmp_path):
    people = (Custodian("anna", "correct horse battery"), Custodian("bo", "a staple of another"))
    now = datetime(2026, 11, 1, tzinfo=UTC)
    authority = Authority.create(tmp_path / "root", "lungs", people, now)

    draft = read_draft(EXAMPLES / "manifest.toml", authority, now)

    assert draft.version == 1
    assert {signer.role for signer in draft.signers} == {"requester", "reviewer", "vendor"}
    assert draft.project("lung-nodules").hospitals == ("tongji", "anlan")


def test_the_example_coordinator_is_read():
    raw = tomllib.loads((EXAMPLES / "coordinator.toml").read_text())

    assert CoordinatorConfig.model_validate(raw).federation == "lungs"


@pytest.mark.parametrize("house", ["gateway", "coordinator"])
def test_a_unit_gives_no_new_privileges_and_its_own_user(house):
    unit = configparser.ConfigParser(strict=False)
    unit.optionxform = str

    unit.read_string((DEPLOY / "systemd" / f"radfed-{house}.service").read_text())

    service = unit["Service"]
    assert service["User"].startswith("radfed")
    assert service["NoNewPrivileges"] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == ""
    assert service["LimitCORE"] == "0"
    # A call that the filter forbids fails; a library that tries one does not end the service.
    assert "SystemCallFilter" not in service or service["SystemCallErrorNumber"] == "EPERM"
