"""A desk that keeps in memory what the link brings, for tests of the link alone."""

from threading import Condition
from time import sleep

from gateway.desk.book import Report
from gateway.desk.objects import Objects, Wanted


class FakeDesk:
    def __init__(self, directory) -> None:
        self.objects = Objects(directory)
        self.taken: list[tuple[str, object]] = []
        self.reports: list[Report] = []
        self.needs: list[Wanted] = []
        self.kept: list[tuple[Report, str]] = []
        self._news = Condition()

    def take_question(self, question) -> None:
        self._take("question", question)

    def take_offer(self, offer) -> None:
        self._take("offer", offer)

    def take_task(self, task) -> None:
        self._take("task", task)

    def manifest_version(self) -> int:
        return 0

    def take_manifest(self, raw) -> None:
        self._take("manifest", raw)

    def withdraw(self, job_id) -> None:
        self._take("withdrawal", job_id)

    def _take(self, kind, what) -> None:
        with self._news:
            self.taken.append((kind, what))
            self._news.notify_all()

    def settled(self, report_id) -> None:
        self.reports = [report for report in self.reports if report.report_id != report_id]

    def outbox(self):
        return list(self.reports)

    def wanted(self):
        return [need for need in self.needs if not self.objects.has(need.digest)]

    def pushed(self) -> None: ...

    def wait_for_objects(self, seconds: float) -> None:
        sleep(min(seconds, 0.02))

    def arrived(self, digest) -> None:
        self._take("arrived", digest)

    def declared_names(self, task_id):  # noqa: ARG002 - the link's Protocol
        return frozenset()

    def declared_metrics(self, task_id):  # noqa: ARG002 - the link's Protocol
        return ()

    def kept_in(self, report, code) -> None:
        self.kept.append((report, code))
        self.settled(report.report_id)

    def wait_for_news(self, seconds) -> None:
        with self._news:
            self._news.wait(min(seconds, 0.02))
