"""Paced senders at a fraction of what this machine can do: memory, backlog and latency stay flat.

Capacity is measured first, over the whole path, with the same senders. A sender that is late does
not make up for it, so a machine that is busy with other things is not pushed over its edge. What
has been in the index for a while is removed by the harness: half an hour of CT fills most disks.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles

from tests.bench.ingest import sets
from tests.chaos.running import Gateway, resident_kilobytes
from tests.fakes.raw_scu import CT, RELEASE, RawScu, a_store, data, status_of

EXPLICIT = "1.2.840.10008.1.2.1"
SENDERS = 4
PER_SERIES = 100
PDU_BYTES = 15_900  # in a P-DATA-TF, which may have 16 KiB
KEPT_SECONDS = 60.0  # of what was stored: it is graded long before
SAMPLE_SECONDS = 3.0
SETTLES_SECONDS = 120.0
# What the last third of a run may have over its first.
MORE_MEMORY, MORE_KILOBYTES = 1.05, 2_000
MORE_SECONDS, LONGER, LONGER_MS = 1.0, 1.5, 5.0


@dataclass(frozen=True, slots=True)
class Sample:
    at: float
    kilobytes: dict[str, int]  # by process
    backlog: int  # acknowledged, not yet in the index
    latencies: list[float]  # seconds from an image's last byte to its answer


class Modality:
    """One association that sends a CT after another, none like any before."""

    def __init__(self, port: int, number: int, template: bytes, slots: Sequence[sets.Slot]) -> None:
        self._number = number
        self._template = bytearray(template)
        self._slots = slots
        self._serial = 0
        self._store = data(1, 3, a_store(sets.INSTANCE))
        self._scu = RawScu(port, seconds=120)
        self._scu.associate(contexts=((1, CT),), syntax=EXPLICIT)

    def send(self) -> float:
        """Send the next image; return how long its answer took."""
        uids = self._renew()
        view = memoryview(self._template)
        parts = [self._store.replace(sets.INSTANCE.encode(), uids[sets.INSTANCE])]
        for at in range(0, len(view), PDU_BYTES):
            last = at + PDU_BYTES >= len(view)
            parts.append(data(1, 2 if last else 0, view[at : at + PDU_BYTES]))
        self._scu.say(*parts)
        sent = time.monotonic()
        status = status_of(self._scu.hear())
        assert status == 0, f"an image was answered 0x{status:04X}"
        return time.monotonic() - sent

    def leave(self) -> None:
        self._scu.say(RELEASE)
        self._scu.socket.close()

    def _renew(self) -> dict[str, bytes]:
        self._serial += 1
        series = self._serial // PER_SERIES
        numbers = {sets.INSTANCE: self._serial, sets.SERIES: series, sets.STUDY: series // 2}
        uids = {
            uid: f"{uid[:6]}{self._number * 10**12 + number:0{sets.DIGITS}}".encode()
            for uid, number in numbers.items()
        }
        for slot in self._slots:
            self._template[slot.offset : slot.offset + len(slot.uid)] = uids[slot.uid]
        return uids


@dataclass
class Load:
    """All senders, as fast as they can or at a rate."""

    modalities: list[Modality]
    sent: int = 0
    late: int = 0
    latencies: list[float] = field(default_factory=list)
    faults: list[BaseException] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, seconds: float, rate: float | None, look: Callable[[], None]) -> None:
        """Send for so long, calling `look` now and then."""
        ends = time.monotonic() + seconds
        threads = [
            threading.Thread(target=self._send, args=(modality, ends, rate), daemon=True)
            for modality in self.modalities
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            threads[0].join(SAMPLE_SECONDS)
            look()
        if self.faults:
            raise self.faults[0]

    def _send(self, modality: Modality, ends: float, rate: float | None) -> None:
        every = len(self.modalities) / rate if rate else 0.0
        due = time.monotonic()
        try:
            while time.monotonic() < ends and not self.faults:
                time.sleep(max(0.0, due - time.monotonic()))
                took = modality.send()
                due, now = due + every, time.monotonic()
                with self.lock:
                    self.sent += 1
                    self.latencies.append(took)
                    if every and due < now - every:
                        self.late += int((now - due) / every)
                        due = now
        except BaseException as fault:  # noqa: BLE001 - raised again in `run`, in the right thread
            self.faults.append(fault)

    def taken(self) -> list[float]:
        """Return the latencies since the last call."""
        with self.lock:
            latencies, self.latencies = self.latencies, []
        return latencies


def steady(directory: Path, minutes: float, share: float = 0.8) -> dict[str, object]:
    """Send at a share of capacity for so long; refuse what grew."""
    (template, slots), gateway = _template(directory), Gateway(directory / "house")
    samples: list[Sample] = []
    try:
        gateway.start()
        load = Load([Modality(gateway.port, n, template, slots) for n in range(1, SENDERS + 1)])
        capacity = _capacity(gateway, load, seconds=min(20.0, 6.0 * minutes))
        began, before, ended = time.monotonic(), load.sent, time.monotonic() + 60 * minutes
        load.taken()
        load.run(60 * minutes, share * capacity, lambda: samples.append(_sample(gateway, load)))
        seconds, sent = time.monotonic() - began, load.sent - before
        gateway.wait_until_settled(SETTLES_SECONDS)
        for modality in load.modalities:
            modality.leave()
        said = gateway.said()
        gateway.stop()
    finally:
        gateway.destroy()
    assert "Traceback" not in said
    seen = {
        "minutes": round((ended - began) / 60, 1),
        "capacity": round(capacity, 1),
        "asked": round(share * capacity, 1),
        "reached": round(sent / seconds, 1),
        "sent": sent,
        "late": load.late,
    }
    return seen | verdict(samples)


def verdict(samples: Sequence[Sample]) -> dict[str, object]:
    """Compare the last third of a run with the first, after a tenth of it to warm up."""
    warm = samples[len(samples) // 10 :]
    third = len(warm) // 3
    assert third, "too short to say anything"
    first, last = warm[:third], warm[-third:]
    grew: list[str] = []
    memory = {}
    for name in first[-1].kilobytes:
        was, now = (_middle(part, lambda s, n=name: s.kilobytes[n]) for part in (first, last))
        memory[name] = [round(was * 1.024e-3, 1), round(now * 1.024e-3, 1)]
        if now > was * MORE_MEMORY + MORE_KILOBYTES:
            grew.append(f"memory of {name}")
    # Load from elsewhere only adds to a latency: the quieter quarter of the samples is compared.
    latency = [_quiet([median(s.latencies) for s in part if s.latencies]) for part in (first, last)]
    slow = [_quiet([max(s.latencies) for s in part if s.latencies]) for part in (first, last)]
    rate = sum(len(s.latencies) for s in first) / max(1.0, first[-1].at - first[0].at)
    backlog = [_middle(part, lambda s: s.backlog) for part in (first, last)]
    if latency[1] > LONGER * latency[0] + LONGER_MS / 1000:
        grew.append("latency")
    if backlog[1] > backlog[0] + MORE_SECONDS * rate:
        grew.append("backlog")
    return {
        "samples": len(samples),
        "memory_mb": memory,
        "latency_ms": [round(1000 * each, 2) for each in latency],
        "longest_latency_ms": [round(1000 * each, 2) for each in slow],
        "backlog": backlog,
        "backlog_at_most": max(sample.backlog for sample in samples),
        "grew": grew,
        "flat": not grew,
    }


def _middle(part: Sequence[Sample], of: Callable[[Sample], float]) -> float:
    return median(map(of, part))


def _quiet(figures: list[float]) -> float:
    return quantiles(figures, n=4)[0] if len(figures) > 1 else figures[0]


def _capacity(gateway: Gateway, load: Load, seconds: float) -> float:
    """Return images a second over the whole path, once it is warm."""
    load.run(seconds / 2, None, lambda: None)
    gateway.wait_until_settled(SETTLES_SECONDS)
    before, began = load.sent, time.monotonic()
    load.run(seconds, None, lambda: None)
    gateway.wait_until_settled(SETTLES_SECONDS)
    return (load.sent - before) / (time.monotonic() - began)


def _sample(gateway: Gateway, load: Load) -> Sample:
    processes = {"gateway": gateway.pid} | {
        f"receiver {number}": pid for number, pid in enumerate(gateway.receivers)
    }
    _forget_old(gateway.data / "store")
    arrivals = sum(1 for _ in (gateway.data / "store" / "arrivals").iterdir())
    waiting = sum(1 for _ in (gateway.data / "vault" / "incoming").iterdir())
    return Sample(
        at=time.monotonic(),
        kilobytes={name: resident_kilobytes(pid) for name, pid in processes.items()},
        backlog=arrivals + waiting,
        latencies=load.taken(),
    )


def _forget_old(store: Path) -> None:
    before = time.time() - KEPT_SECONDS
    for path in store.glob("[0-9a-f][0-9a-f]/*/*/*.dcm"):
        if path.stat().st_mtime < before:
            path.unlink()


def _template(directory: Path) -> tuple[bytes, list[sets.Slot]]:
    """Return the dataset of a CT of 531 KB, and where its UIDs stand in it."""
    made = sets.make("ct", 1, directory / "template")
    raw = made.files[0].read_bytes()
    begins = 144 + int.from_bytes(raw[140:144], "little")  # behind the file meta information
    slots = [sets.Slot(s.offset - begins, s.uid) for s in made.slots[0] if s.offset >= begins]
    return raw[begins:], slots
