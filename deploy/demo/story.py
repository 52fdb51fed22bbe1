"""The demo, step by step: everything it prints was measured in this run."""

import json
import subprocess
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from deploy.demo import archive, phantoms, questions, training, verdict
from deploy.demo.centre import Centre
from deploy.demo.commands import wait_until
from deploy.demo.failure import DemoFailed
from deploy.demo.hospital import Hospital
from deploy.demo.ports import listens
from deploy.demo.proxy import as_coordinator
from deploy.demo.screen import Screen
from deploy.demo.signers import VENDOR
from deploy.demo.supervisor import Supervisor

PUSH_SECONDS = 150.0


@dataclass(slots=True)
class Story:
    """One run over one directory."""

    home: Path
    seed: int
    own: Sequence[Path]
    screen: Screen
    supervisor: Supervisor
    hospitals: list[Hospital] = field(default_factory=list)
    _centre: Centre | None = None
    _pushes: "list[subprocess.Popen[str]]" = field(default_factory=list)

    def tell(self) -> None:
        """Run every step; DemoFailed where a promise does not hold."""
        with ThreadPoolExecutor(3) as pool:
            try:
                self._tell(pool)
            except BaseException:
                # Whatever the others wait for will not come: let them see it and end.
                self.supervisor.stop()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
            finally:
                for push in self._pushes:
                    push.kill()
        self.supervisor.check()
        self.screen.keep("restarts", dict(self.supervisor.restarts))

    def _tell(self, pool: ThreadPoolExecutor) -> None:
        self.build(pool)
        self.push()
        self.receive(pool)
        self.prepare(pool)
        questions.ask(self.screen, self.centre, self.hospitals)
        training.train(self.screen, self.centre, self.hospitals, pool)
        undisturbed = not self.supervisor.restarts
        verdict.prove(self.screen, self.centre, self.hospitals, pool, undisturbed=undisturbed)

    @property
    def centre(self) -> Centre:
        if self._centre is None:
            raise DemoFailed("the coordinator was not made yet")
        return self._centre

    def build(self, pool: ThreadPoolExecutor) -> None:
        """Make the federation's CA and coordinator, three hospitals, and what their PACS hold."""
        with self.screen.step("federation") as step:
            names = [profile.site for profile in phantoms.SITES]
            coordinator = pool.submit(Centre.build, self.home / "coordinator", names)
            shares = [self.own[i :: len(phantoms.SITES)] for i in range(len(phantoms.SITES))]
            self.hospitals = list(pool.map(self._build_hospital, phantoms.SITES, shares))
            self._centre = coordinator.result()
            self.centre.start(self.supervisor)
            step.says = (
                f"its coordinator on 127.0.0.1:{self.centre.port}, mutual TLS; its authority "
                "signed whose signatures count"
            )
        with self.screen.step("hospitals") as step:
            list(pool.map(self._join, self.hospitals))
            wait_until("every gateway's link", self._all_connected, 60)
            joined = ", ".join(h.site for h in self.hospitals)
            step.says = f"{joined}: enrolled, connected, each through a proxy that reads along"

    def end(self) -> None:
        """Stop every process, and then the proxies between them."""
        self.supervisor.stop()
        for hospital in self.hospitals:
            hospital.proxy.stop()

    def say_addresses(self) -> None:
        """Name what stays up: every address printed was just reached."""
        for hospital in self.hospitals:
            link = hospital.console_link()
            if link and listens(hospital.console_port):
                self.screen.note(f"{hospital.site}: the console's first account, once: {link}")
        if listens(self.centre.port):
            credential = self.home / "coordinator" / "operator"
            self.screen.note(f"coordinator: 127.0.0.1:{self.centre.port}, --as {credential}")
        link = self.centre.console_link()
        if link and listens(self.centre.console_port):
            self.screen.note(f"the federation: its console's first account, once: {link}")
        self.screen.note("Ctrl-C stops everything")

    def push(self) -> None:
        """Let each PACS begin."""
        for hospital in self.hospitals:
            wait_until("the DICOM door", partial(listens, hospital.dicom_port), 30)
        self._pushes = [hospital.push(PUSH_SECONDS) for hospital in self.hospitals]

    def receive(self, pool: ThreadPoolExecutor) -> None:
        """Wait for the senders, then for the gateways to be done with what they took."""
        with self.screen.step("push") as step:
            sent = [self._outcome(push) for push in self._pushes]
            files, taken = (sum(o[key] for o in sent) for key in ("files", "acknowledged"))
            refused = sum((Counter(o["refused"]) for o in sent), Counter[str]())
            seconds = max(o["seconds"] for o in sent)
            again = sum(o["associations"] for o in sent) - len(sent)
            step.says = (
                f"{taken} of {files} instances acknowledged over DICOM TLS in {seconds:.1f} s"
            )
            step.says += f", after {again} broken associations" if again else ""
            for status, count in refused.items():
                step.says += f"; {count} refused with {status}"
            self.screen.keep("push", sent)
            # Of ours, every one must be taken; a file of the user's own may contradict itself.
            if taken + (refused.total() if self.own else 0) != files:
                raise DemoFailed(f"{files - taken} instances were not taken: {sent}")
        with self.screen.step("gateways") as step:
            wait_until("the instance line", self._all_settled, 120, pause=1.5)
            states = list(pool.map(lambda h: h.status(), self.hospitals))
            reasons = list(pool.map(lambda h: h.quarantine(), self.hospitals))
            step.says = "what each did with what it received:"
        self._show_stores(states, reasons, [o["acknowledged"] for o in sent])

    def prepare(self, pool: ThreadPoolExecutor) -> None:
        """Let the stewards import labels, pin the vendor, and set what they will not answer."""
        with self.screen.step("stewards") as step:
            labels = list(pool.map(self._steward, self.hospitals))
            keys = dict(pool.map(lambda h: (h.site, h.sum_key()), self.hospitals))
            list(pool.map(lambda h: h.add_up_with(keys), self.hospitals))
            self.hospitals[-1].refuse_field("Manufacturer")
            step.says = (
                f"{sum(labels)} labels imported; the vendor's key and the others' pinned at each"
            )
            self.screen.keep("labels", labels)

    def _steward(self, hospital: Hospital) -> int:
        hospital.pin_vendor(VENDOR, self.centre.signers.vendor.public)
        return hospital.import_labels()

    def _show_stores(
        self, states: list[dict[str, Any]], reasons: list[Counter[str]], taken: list[int]
    ) -> None:
        """Print what each gateway holds, and why it would not take the rest."""
        rows = []
        each = list(zip(self.hospitals, states, reasons, taken, strict=True))
        for hospital, state, quarantined, received in each:
            stored, grades = state["stored"], state["stored"]["grades"]
            rows.append(
                [
                    hospital.site,
                    str(received),
                    f"{stored['instances']} of {stored['patients']} patients",
                    " ".join(f"{grade}:{count}" for grade, count in sorted(grades.items())),
                    str(quarantined.total()),
                ]
            )
        columns = ("hospital", "received", "de-identified, stored", "series graded", "quarantined")
        self.screen.table(columns, rows)
        for reason, count in sum(reasons, Counter[str]()).most_common():
            self.screen.note(f"quarantined {count}: {reason}")
        self.screen.keep("gateways", states)
        self.screen.keep("quarantine", [dict(found) for found in reasons])
        for hospital, state, quarantined, received in each:
            held = state["stored"]["instances"] + quarantined.total()
            if held != received:
                raise DemoFailed(f"{hospital.site} holds {held} of {received}")

    @staticmethod
    def _outcome(push: "subprocess.Popen[str]") -> dict[str, Any]:
        said, complaint = push.communicate(timeout=PUSH_SECONDS + 30)
        try:
            outcome: dict[str, Any] = json.loads(said)
        except ValueError:
            raise DemoFailed(f"the PACS ended with {push.returncode}: {complaint[-600:]}") from None
        return outcome

    def _build_hospital(self, profile: phantoms.SiteProfile, own: Sequence[Path]) -> Hospital:
        home = self.home / profile.site
        held = archive.fill(home, self.seed, profile, own)
        door = partial(as_coordinator, self.home / "coordinator" / "keys")
        return Hospital.build(home, profile, held, door)

    def _join(self, hospital: Hospital) -> None:
        hospital.enrol(self.centre.invite(hospital.site))
        hospital.start(self.supervisor)

    def _all_connected(self) -> bool:
        self.supervisor.check()
        return self.centre.connected() >= {h.site for h in self.hospitals}

    def _all_settled(self) -> bool:
        self.supervisor.check()
        return all(hospital.settled() for hospital in self.hospitals)
