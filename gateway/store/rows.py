"""The facts of an instance as rows of the index, in the order its statements bind them."""

from gateway.model import InstanceFacts


def patient_row(facts: InstanceFacts) -> tuple[object, ...]:
    return (facts.patient, int(facts.countable), facts.sex)


def study_row(facts: InstanceFacts) -> tuple[object, ...]:
    return (facts.study_uid, facts.patient, facts.study_year, facts.age_years)


def series_row(facts: InstanceFacts, at: float) -> tuple[object, ...]:
    return (
        facts.series_uid,
        facts.study_uid,
        facts.modality,
        facts.body_part,
        facts.manufacturer,
        facts.model,
        facts.slice_thickness_mm,
        at,
    )


def instance_row(facts: InstanceFacts) -> tuple[object, ...]:
    return (
        facts.sop_uid,
        facts.series_uid,
        facts.sop_class_uid,
        facts.transfer_syntax_uid,
        facts.rows,
        facts.columns,
        facts.frames,
        facts.instance_number,
        facts.size_bytes,
        facts.profile_digest,
        facts.received_digest,
        facts.path,
    )
