"""Opening a vendor's bundle: signature first, then every check of the treaty, then its weights."""

from dataclasses import dataclass, replace
from hashlib import sha256

import numpy as np

from coordinator.errors import IntegrityFault, InvalidRequest, Refused
from protos import bundle
from protos.bundle import INITIAL_WEIGHTS, ForgedBundle
from protos.job_manifest import BundleFault, Kind
from protos.tensors import MalformedTensors, Schema, SchemaMismatch, decode, encode
from protos.training import TrainingPlan
from protos.v1.job_pb2 import JobKind

KINDS = {
    Kind.TRAINING: JobKind.JOB_KIND_TRAINING,
    Kind.EVALUATION: JobKind.JOB_KIND_EVALUATION,
    Kind.ANALYTICS: JobKind.JOB_KIND_ANALYTICS,
}


@dataclass(frozen=True, slots=True)
class Opened:
    """What a checked bundle says of itself, and the model its first round starts from."""

    name: str
    kind: JobKind.ValueType
    rounds: int
    size: int
    schema: Schema
    weights: bytes
    plan: TrainingPlan

    @property
    def weights_digest(self) -> bytes:
        return sha256(self.weights).digest()

    def starting_from(self, weights: bytes) -> "Opened":
        """Return the job with another first model, of the declared schema."""
        return replace(self, weights=_checked(weights, self.schema))


def open_bundle(raw: bytes, digest: bytes, vendor_key: bytes, signature: bytes) -> Opened:
    """Read a packed bundle; refuse one its vendor did not sign, or that says what cannot be."""
    if bundle.digest(raw) != digest:
        raise IntegrityFault("the stored bundle is not what was uploaded: upload it again")
    try:
        bundle.verify(digest, vendor_key, signature)
        files = bundle.read(raw)
        manifest = bundle.manifest_of(raw)
    except ForgedBundle as fault:
        raise Refused(str(fault)) from fault
    except BundleFault as fault:
        raise InvalidRequest(str(fault)) from fault
    schema = manifest.weights
    given = files.get(INITIAL_WEIGHTS)
    return Opened(
        name=manifest.name,
        kind=KINDS[manifest.kind],
        rounds=manifest.rounds,
        size=len(raw),
        schema=schema,
        # A bundle that brings no model starts from zeros, which every house makes alike.
        weights=_zeros(schema) if given is None else _checked(given, schema),
        plan=manifest.training,
    )


def _zeros(schema: Schema) -> bytes:
    return encode({name: np.zeros(spec.shape, spec.numpy) for name, spec in schema.items()}, schema)


def _checked(weights: bytes, schema: Schema) -> bytes:
    try:
        decode(weights, schema)
    except (MalformedTensors, SchemaMismatch) as fault:
        raise InvalidRequest(f"the weights are not those `job.toml` declares: {fault}") from fault
    return weights
