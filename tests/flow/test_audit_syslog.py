import re
from xml.etree import ElementTree as ET

import pytest

from gateway.app.build import build_audit
from gateway.app.reporting import Reporter, waiting
from gateway.config import load
from gateway.store.index import Index
from tests.fakes.audit_repository import AuditRepository
from tests.fakes.hospital import facts
from tests.fakes.running_gateway import Gateway

pytestmark = pytest.mark.flow
HEADER = re.compile(r"<8[45]>1 \d{4}-\d\d-\d\dT\S+ radfed-tongji radfed \d+ DICOM\+RFC3881 - ")


@pytest.fixture
def gateway(tmp_path):
    (tmp_path / "house").mkdir()
    return Gateway(tmp_path / "house")


def configured(gateway, repository, extra=""):
    text = gateway.settings.read_text()
    where = f'host = "127.0.0.1"\nport = {repository.port}\nca = "{repository.ca}"\n'
    gateway.settings.write_text(f"{text}\n[audit.syslog]\n{where}{extra}")
    return load(gateway.settings)


def test_a_running_gateway_reports_its_start_its_alerts_and_its_stop(gateway, tmp_path):
    with AuditRepository(tmp_path) as repository:
        configured(gateway, repository)
        with gateway.running():
            repository.wait_for(lambda r: r.named("110100"))
            gateway("policy", "pin-vendor", "acme", "ab" * 32, "--by", "li")
            (alert,) = repository.wait_for(lambda r: r.named("110113"))
            assert gateway.json("status")["exits"]["audit_syslog"].startswith("127.0.0.1:")
        started, stopped = repository.wait_for(
            lambda r: r.named("110100") if len(r.named("110100")) > 1 else None
        )

    kinds = [x.find(".//EventTypeCode").get("csd-code") for x in (started, stopped)]
    assert kinds == ["110120", "110121"]
    assert "li" in {each.get("UserID") for each in alert.iter("ActiveParticipant")}
    assert all(HEADER.fullmatch(header) for header, _ in repository.messages)
    for message in (started, stopped, alert):
        assert message.tag == "AuditMessage"
        assert message.find("AuditSourceIdentification").get("AuditSourceID") == "radfed-tongji"


def test_instances_are_told_by_pseudonyms_when_a_study_begins_and_has_come(gateway, tmp_path):
    with AuditRepository(tmp_path) as repository:
        config = configured(gateway, repository)
        trail = build_audit(config)
        reporter = Reporter(config, config.audit.syslog, trail, quiet_seconds=0.0)
        index = Index.open(config.index_file)
        assert reporter.attempt()
        index.add([facts(1), facts(1, sop_uid="2.25.14"), facts(2)])

        assert reporter.attempt()

        repository.wait_for(lambda r: len(r.named("110104")) == 2)
        assert len(repository.named("110102")) == 2
        one = ET.tostring(repository.named("110104")[0]).decode()
        assert 'ParticipantObjectID="2.25.11"' in one
        assert 'NumberOfInstances="2"' in one
        assert 'ParticipantObjectID="p0001"' in one
        assert reporter.attempt()  # nothing is told twice
        assert len(repository.named("110104")) == 2
        again = Reporter(config, config.audit.syslog, trail, quiet_seconds=0.0)
        assert again.attempt()
        assert len(repository.named("110104")) == 2
        index.close()
        trail.close()


def test_while_the_repository_is_away_the_trail_waits_and_then_all_of_it_is_told(gateway, tmp_path):
    with AuditRepository(tmp_path) as repository:
        config = configured(gateway, repository)
        port = repository.port
    trail = build_audit(config)
    reporter = Reporter(config, config.audit.syslog, trail)
    for number in range(450):
        trail.record("pinned", number=number)

    assert not reporter.attempt()
    assert waiting(config) >= 450
    with AuditRepository(tmp_path, port) as repository:
        assert Reporter(config, config.audit.syslog, trail).attempt()  # another process goes on
        repository.wait_for(lambda r: len(r.named("110113")) == 450)
    assert waiting(config) == 0
    trail.close()


def test_past_its_bound_the_queue_skips_and_says_so(gateway, tmp_path):
    with AuditRepository(tmp_path) as repository:
        config = configured(gateway, repository, "backlog_at_most = 100\n")
        trail = build_audit(config)
        reporter = Reporter(config, config.audit.syslog, trail)
        for number in range(300):
            trail.record("pinned", number=number)

        assert reporter.attempt()

        kinds = [x.find(".//EventTypeCode").get("csd-code") for x in repository.named("110113")]
        assert kinds.count("110133") == 1
        assert 100 <= kinds.count("110129") < 300
        trail.close()


def test_a_repository_with_another_certificate_is_told_nothing(gateway, tmp_path):
    (tmp_path / "other").mkdir()
    with AuditRepository(tmp_path) as mine, AuditRepository(tmp_path / "other") as other:
        text = gateway.settings.read_text()
        gateway.settings.write_text(
            text + f'\n[audit.syslog]\nhost = "127.0.0.1"\nport = {other.port}\nca = "{mine.ca}"\n'
        )
        config = load(gateway.settings)
        trail = build_audit(config)
        trail.record("gateway_started")

        assert not Reporter(config, config.audit.syslog, trail).attempt()
        assert other.messages == []
        trail.close()
