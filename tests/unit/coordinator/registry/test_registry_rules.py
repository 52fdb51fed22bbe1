from itertools import product

import pytest

from coordinator.errors import Refused, Unauthenticated, WrongMoment
from coordinator.model import Caller, Standing
from coordinator.registry.rules import (
    CHANGE_PEOPLE,
    MAY_CALL,
    NEXT,
    READ_TRAIL,
    SEE_PEOPLE,
    check_caller,
    check_permission,
    moved,
)
from protos.identity import Identity, Role
from protos.v1 import enrolment_pb2, federation_pb2, link_pb2


@pytest.mark.parametrize(("here", "there"), list(product(Standing, Standing)))
def test_a_site_moves_only_as_the_table_says(here, there):
    if there in NEXT[here]:
        assert moved(here, there) is there
    else:
        with pytest.raises(WrongMoment, match=f"from {here} to {there}"):
            moved(here, there)


def test_a_revoked_site_never_returns():
    assert NEXT[Standing.REVOKED] == frozenset()


def test_every_method_of_the_treaty_stands_in_the_permission_table():
    modules = (enrolment_pb2, federation_pb2, link_pb2)
    methods = {
        f"{service.full_name}/{rpc.name}"
        for module in modules
        for service in module.DESCRIPTOR.services_by_name.values()
        for rpc in service.methods
    }

    of_pages = {READ_TRAIL, SEE_PEOPLE, CHANGE_PEOPLE}
    assert set(MAY_CALL) == methods | of_pages


@pytest.mark.parametrize(("role", "method"), list(product(Role, MAY_CALL)))
def test_a_role_may_call_what_the_table_says_and_nothing_else(role, method):
    if role in MAY_CALL[method]:
        check_permission(role, method)
    else:
        with pytest.raises(Refused):
            check_permission(role, method)


@pytest.mark.parametrize(("role", "verb"), [(Role.INVITATION, "Enrol"), (Role.RENEWAL, "Renew")])
def test_an_invitation_may_enrol_and_a_renewal_renew_and_nothing_else(role, verb):
    allowed = {method.rpartition("/")[2] for method, roles in MAY_CALL.items() if role in roles}

    assert allowed == {verb, "Preflight"}


def test_an_auditor_reads_and_changes_nothing():
    allowed = {m.rpartition("/")[2] for m, roles in MAY_CALL.items() if Role.AUDITOR in roles}

    assert allowed == {
        *("ListSites", "ListProjects", "ListQuestions"),
        *("ListJobs", "GetJob", "DownloadReport"),
        *("ReadTrail", "SeePeople"),
    }


def test_an_unknown_method_is_refused_to_everybody():
    for role in Role:
        with pytest.raises(Refused):
            check_permission(role, "radfed.v1.LinkService/Backdoor")


@pytest.mark.parametrize(("federation", "now"), [("other", 0.0), ("demo", 100.0), ("demo", 101.0)])
def test_a_stranger_and_an_outdated_certificate_are_refused(federation, now):
    caller = Caller(Identity("demo", Role.GATEWAY, "alpha"), "1f", not_after=100.0)

    with pytest.raises(Unauthenticated):
        check_caller(caller, federation, now)


def test_a_certificate_in_force_passes():
    caller = Caller(Identity("demo", Role.GATEWAY, "alpha"), "1f", not_after=100.0)

    check_caller(caller, "demo", 99.0)
