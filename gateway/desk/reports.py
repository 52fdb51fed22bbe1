"""Making reports: each has a name that the same news always gets, so that a repeat is the same."""

from hashlib import sha256

from gateway.desk.book import Report
from gateway.release.rules import Kind
from protos.v1 import job_pb2, question_pb2, sum_pb2

SUM = Kind.SUM


def of_answer(answer: question_pb2.Answer) -> Report:
    body = answer.SerializeToString(deterministic=True)
    name = f"answer-{answer.question_id}"
    return Report(name, Kind.ANSWER, answer.question_id, body, "policy")


def of_decision(
    job_id: str, decision: job_pb2.Decision.ValueType, rule: str = "", by: str = "policy"
) -> Report:
    said = job_pb2.JobDecision(job_id=job_id, decision=decision, rule=rule)
    body = said.SerializeToString(deterministic=True)
    return Report(f"decision-{job_id}-{_short(body)}", Kind.DECISION, job_id, body, by)


def of_outcome(outcome: job_pb2.TaskOutcome, by: str = "policy") -> Report:
    body = outcome.SerializeToString(deterministic=True)
    name = f"outcome-{outcome.task_id}-{_short(body)}"
    return Report(name, Kind.OUTCOME, outcome.task_id, body, by)


def of_state(
    task_id: str, state: job_pb2.TaskState.ValueType, code: str = "", by: str = "policy"
) -> Report:
    return of_outcome(job_pb2.TaskOutcome(task_id=task_id, state=state, code=code), by)


def of_sum(step: sum_pb2.SumReport, subject: str, by: str) -> Report:
    body = step.SerializeToString(deterministic=True)
    return Report(f"sum-{subject}-{_short(body)}", Kind.SUM, subject, body, by)


def _short(body: bytes) -> str:
    return sha256(body).hexdigest()[:16]
