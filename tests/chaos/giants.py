"""Instances larger than memory should hold, and what the receivers weigh while they pass."""

import threading
import time
from pathlib import Path
from struct import pack

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from tests.chaos.images import CT, image
from tests.chaos.running import Gateway, resident_kilobytes
from tests.fakes.raw_scu import RELEASE, RawScu, a_request, a_store, data, status_of

ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
ENDS = 2  # a P-DATA-TF's control byte: the last fragment of a dataset


def multi_frame(directory: Path, megabytes: int) -> dict[str, object]:
    """Push one multi-frame of that size; its pixels are zeros, as long as they are many."""
    gateway = Gateway(directory / "house")
    try:
        gateway.start()
        started = time.monotonic()
        header = _header(1, frames=2 * megabytes)  # of 512 KiB each
        _push(gateway.port, 1, header, pack("<HHI", 0x7FE0, 0x10, megabytes << 20), megabytes)
        seconds = time.monotonic() - started
        peak = _peak(gateway)
        gateway.wait_until_settled(120)
        (paths,) = gateway.holdings().stored.values()
        assert paths[0].stat().st_size > megabytes << 20
    finally:
        gateway.destroy()
    return {"megabytes": megabytes, "seconds": round(seconds, 1), "peak_kilobytes": peak}


def functional_groups(directory: Path, megabytes: int, associations: int) -> dict[str, object]:
    """Push headers of that size and no pixels on so many associations at once.

    Only the receivers are weighed: the gateway is killed before its line looks at them.
    """
    gateway = Gateway(directory / "house")
    faults: list[BaseException] = []

    def push(number: int) -> None:
        try:
            # One private element: opaque, so that nothing here is quick because it is simple.
            element = pack("<HHI", 0x7FDF, 0x1000, megabytes << 20)
            _push(gateway.port, number, _header(number), element, megabytes)
        except BaseException as fault:  # noqa: BLE001 - raised again below, in the right thread
            faults.append(fault)

    try:
        gateway.start()
        threads = [threading.Thread(target=push, args=(n,)) for n in range(1, associations + 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(240)
        peak = _peak(gateway)
    finally:
        gateway.destroy()
    assert not faults, faults[0]
    return {"megabytes": megabytes, "associations": associations, "peak_kilobytes": peak}


def _peak(gateway: Gateway) -> int:
    return max(resident_kilobytes(pid, "VmHWM") for pid in gateway.receivers)


def _header(number: int, frames: int = 1) -> bytes:
    dataset = Dataset(image(CT, number))
    dataset.SOPClassUID = ENHANCED_CT
    dataset.Rows = dataset.Columns = 512
    dataset.NumberOfFrames = frames
    for element in ("PixelData", "DataSetTrailingPadding"):
        if element in dataset:
            del dataset[element]
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = True, True
    write_dataset(buffer, dataset)
    return bytes(buffer.getvalue())


def _push(port: int, number: int, header: bytes, element: bytes, megabytes: int) -> None:
    uid = str(image(CT, number).SOPInstanceUID)
    whole = data(1, 0, bytes(15_000)) * 70  # a megabyte and a little, in PDUs of the usual size
    size = 15_000 * 70
    with RawScu(port, seconds=120) as scu:
        scu.say(a_request(contexts=((1, ENHANCED_CT),)))
        scu.hear()
        scu.say(data(1, 3, a_store(uid, ENHANCED_CT)), data(1, 0, header + element))
        rounds, rest = divmod(megabytes << 20, size)
        for _ in range(rounds):
            scu.say(whole)
        for at in range(0, rest, 15_000):
            scu.say(data(1, 0, bytes(min(15_000, rest - at))))
        scu.say(data(1, ENDS, b""))
        assert status_of(scu.hear()) == 0
        scu.say(RELEASE)
