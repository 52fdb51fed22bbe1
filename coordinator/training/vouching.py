"""Whether a hospital vouched for its part of a summed test, as the report is to show it."""

from coordinator.training.secure_sum import Circle
from protos.job_manifest import JobManifest, protocol_digest
from protos.reports import is_signed
from protos.sums import keys_statement
from protos.v1.job_pb2 import EvaluationStatistics, TaskOutcome


def is_vouched_for(manifest: JobManifest, circle: Circle, site: str, outcome: TaskOutcome) -> bool:
    """Demand of a test the word on this protocol and roster; of other jobs none."""
    if manifest.protocol is None:
        return not outcome.statistics
    said, entry = EvaluationStatistics.FromString(outcome.statistics), circle.keys[site]
    return (
        said.protocol_digest == protocol_digest(manifest)
        and said.summed.roster_digest == circle.digest
        and said.summed.masked_digest == outcome.update_digest
        and is_signed(said.summed.sum_key, entry.signature, keys_statement(circle.context, entry))
    )
