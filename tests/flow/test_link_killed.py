import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from time import sleep

import pytest

from protos.v1.question_pb2 import Answer
from tests.fakes.hospital import Hospital

pytestmark = pytest.mark.flow
GATEWAY = """
import sys
from pathlib import Path
from threading import Event
from protos.v1.question_pb2 import COUNT_UNIT_PATIENTS, Answer, Predicate, Question
from tests.fakes.hospital import Hospital

hospital = Hospital(Path(sys.argv[1]))
for year in range(2000, 2040):
    where = [Predicate(field="StudyYear", operator="OPERATOR_EQUAL", values=[str(year)])]
    hospital.desk.take_question(
        Question(question_id=f"q{year}", unit=COUNT_UNIT_PATIENTS, where=where, requester="alice")
    )
print("taken", flush=True)
while True:
    hospital.desk._answer(Event())
    for report in hospital.desk.outbox():
        answer = Answer.FromString(report.body)
        print(hospital.gate.answer(report.report_id, answer).entry, flush=True)
"""


@pytest.mark.parametrize("seed", range(4))
def test_a_kill_at_any_moment_charges_nothing_twice_and_breaks_no_chain(tmp_path, seed):
    Hospital(tmp_path).admit(100)
    wait = random.Random(seed)

    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", GATEWAY, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path.cwd()
        )
        process.stdout.readline()
        sleep(wait.uniform(0.0, 0.4))
        os.kill(process.pid, signal.SIGKILL)
        told = [int(line) for line in process.stdout.read().split() if line.strip().isdigit()]
        process.wait()
        process.stdout.close()

    hospital = Hospital(tmp_path)
    assert hospital.ledger.verify().entries >= max(told, default=0)
    while hospital.desk._answer(None):
        pass
    answers = [Answer.FromString(report.body) for report in hospital.desk.outbox()]
    assert len({answer.question_id for answer in answers}) == len(answers) == 40
    assert hospital.privacy.spent(2026) * 200 == 40
