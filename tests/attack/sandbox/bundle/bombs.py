"""Ways to take the machine: processes, threads, memory, disk, and staying for ever.

Each works when it held more than the configuration's limit at one moment; the same numbers are
tried without a sandbox.
"""

import ctypes
import mmap
import os
import signal
import sys
import threading
import time

BLOCK = b"x" * (1 << 20)
SLEEP = "import time; time.sleep(600)"


def forks(config):
    children, gate = [], os.pipe()
    try:
        for _ in range(config["processes"] + 20):
            child = os.fork()
            if child == 0:
                os.close(gate[1])
                os.read(gate[0], 1)  # until the parent lets go
                os._exit(0)
            children.append(child)
    except OSError:
        pass
    os.close(gate[1])
    for child in children:
        os.waitpid(child, 0)
    return len(children) > config["processes"]


def threads(config):
    threading.stack_size(64 << 10)
    gate, started = threading.Event(), 0
    try:
        for _ in range(config["processes"] + 20):
            threading.Thread(target=gate.wait, daemon=True).start()
            started += 1
    except (RuntimeError, MemoryError):
        pass
    gate.set()
    return started > config["processes"]


def memory_single(config):
    held = mmap.mmap(-1, config["hog_bytes"])
    for place in range(0, config["hog_bytes"], 4096):
        held[place] = 1
    time.sleep(0.2)
    return True


def memory_children(config):
    """Several that each stay below the limit, at the same time."""
    share, ready, gate = config["hog_bytes"] // 6, os.pipe(), os.pipe()
    for _ in range(6):
        if os.fork() == 0:
            os.close(gate[1])
            try:
                held = bytearray(b"x" * share)
                os.write(ready[1], b"." if held else b"")
            except MemoryError:
                os._exit(1)
            os.read(gate[0], 1)
            os._exit(0)
    os.close(ready[1])
    told = b""
    while len(told) < 6 and (more := os.read(ready[0], 6)):
        told += more
    time.sleep(0.2)
    os.close(gate[1])
    return len(told) == 6


def memory_memfd(config):
    """Files that no process maps and no folder shows: rlimits do not count them."""
    number = 279 if os.uname().machine == "aarch64" else 319
    file = ctypes.CDLL(None, use_errno=True).syscall(number, b"hog", 0)
    if file < 0:
        return False
    for _ in range(config["hog_bytes"] >> 20):
        os.write(file, BLOCK)
    return True


def memory_tmpfs(config):
    written = 0
    for number in range(config["hog_bytes"] >> 22):
        for folder in (config["scratch"], "/dev/shm"):
            with open(f"{folder}/hog-{os.getpid()}-{number}", "wb") as file:
                for _ in range(2):
                    written += file.write(BLOCK)
    time.sleep(0.2)
    return written >= config["hog_bytes"]


def disk(config):
    """More than may come out; in the sandbox the outputs' place has a size."""
    with open(f"{config['out']}/metrics.json", "wb") as file:
        for _ in range((config["output_bytes"] >> 20) + 2):
            file.write(BLOCK)
            file.flush()
    return True


def inodes(config):
    """Files without a byte in them: nobody's size limit counts those."""
    folder = f"{config['scratch']}/many-{os.getpid()}"
    os.mkdir(folder)
    at = os.open(folder, os.O_RDONLY)
    os.close(os.open("0", os.O_CREAT | os.O_WRONLY, dir_fd=at))
    for number in range(1, config["inodes"]):
        os.close(os.open(str(number), os.O_CREAT | os.O_WRONLY, dir_fd=at))
    time.sleep(0.3)
    return True


def immune(config):
    """Ignores every signal that can be ignored, and never ends."""
    for number in range(1, 32):
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            continue
    while True:
        time.sleep(600)


def daemon(config):
    """Leaves its parent, its session and its name, and means to stay when the job is over."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.closerange(0, 3)
            os.execv(sys.executable or "/proc/self/exe", [config["daemon_name"], "-c", SLEEP])
        os._exit(0)
    os.wait()
    time.sleep(0.1)
    return False  # whether it stays is seen from outside


ATTACKS = {
    attack.__name__: attack
    for attack in (
        forks, threads, memory_single, memory_children, memory_memfd, memory_tmpfs, disk, inodes,
        immune, daemon,
    )
}  # fmt: skip
