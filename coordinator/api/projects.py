"""ProjectService: for what work is done, as the manifest in force says."""

from coordinator.model import Caller
from coordinator.registry.roll import Roll
from protos.identity import Role
from protos.manifest import Project as Signed
from protos.v1.federation_pb2 import ListProjectsRequest, ListProjectsResponse, Project

SEES_EVERY_PROJECT = frozenset({Role.OPERATOR, Role.REVIEWER, Role.AUDITOR})


class ProjectServicer:
    def __init__(self, roll: Roll) -> None:
        self._roll = roll

    async def list_projects(
        self, caller: Caller, request: ListProjectsRequest
    ) -> ListProjectsResponse:
        del request  # it asks for all
        manifest = self._roll.manifest
        listed = () if manifest is None else manifest.projects
        seen = [project for project in listed if _may_see(project, caller)]
        return ListProjectsResponse(
            projects=map(_shown, sorted(seen, key=lambda project: project.name)),
            manifest_version=self._roll.version,
        )


def _may_see(project: Signed, by: Caller) -> bool:
    return by.identity.role in SEES_EVERY_PROJECT or by.organisation in project.organisations


def _shown(project: Signed) -> Project:
    shown = Project(
        name=project.name,
        purpose=project.purpose,
        legal_basis=project.legal_basis,
        ethics=project.ethics,
        organisations=project.organisations,
        hospitals=project.hospitals,
    )
    shown.expires_at.FromSeconds(project.expires)
    return shown
