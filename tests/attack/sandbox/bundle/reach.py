"""Ways to the hospital: its network, files, memory, processes, descriptors, environment."""

import ctypes
import os
import signal
import socket

LIBC = ctypes.CDLL(None, use_errno=True)
SECONDS = 0.3
AF_NETLINK, AF_PACKET, AF_VSOCK, HOST_CID = 16, 17, 40, 2
DNS_QUERY = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03pat\x00\x00\x10\x00\x01"


def tcp(config):
    with socket.create_connection(("127.0.0.1", config["tcp"]), timeout=SECONDS) as caller:
        return caller.recv(64) == config["secret"].encode()


def udp(config):
    return echoed(b"a patient", config)


def dns(config):
    return echoed(DNS_QUERY, config)


def echoed(message, config):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
        caller.settimeout(SECONDS)
        caller.sendto(message, ("127.0.0.1", config["udp"]))
        return caller.recv(512) == message


def name_lookup(config):
    return bool(socket.getaddrinfo("localhost", 53))


def routes(config):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
        caller.connect(("192.0.2.1", 9))  # TEST-NET-1: a route is enough
        return True


def unix_path(config):
    return hears(config["unix"], config)


def unix_abstract(config):
    return hears("\0" + config["abstract"], config)


def hears(address, config):
    with socket.socket(socket.AF_UNIX) as caller:
        caller.settimeout(SECONDS)
        caller.connect(address)
        return caller.recv(64) == config["secret"].encode()


def vsock(config):
    with socket.socket(AF_VSOCK, socket.SOCK_STREAM):
        return True


def netlink(config):
    with socket.socket(AF_NETLINK, socket.SOCK_RAW):
        return True


def packet(config):
    with socket.socket(AF_PACKET, socket.SOCK_RAW):
        return True


def read(path):
    with open(path, "rb") as file:
        return file.read(1 << 16)


def host_file(config):
    return config["secret"].encode() in read(config["file"])


def host_file_by_parent(config):
    """The gateway's own root directory, by way of a process of it."""
    return config["secret"].encode() in read(f"/proc/{config['gateway']}/root{config['file']}")


def host_write(config):
    with open(config["file"] + ".planted", "w") as file:
        return file.write("planted") > 0


def host_places(config):
    return os.path.exists("/etc/passwd") or os.path.exists("/home") or os.path.exists("/var")


def other_job(config):
    return config["secret"].encode() in read(config["other_job"])


def gateway_memory(config):
    """process_vm_readv(2), then /proc/PID/mem."""
    address, length = config["address"], len(config["secret"])
    here = ctypes.create_string_buffer(length)
    local = (ctypes.c_size_t * 2)(ctypes.addressof(here), length)
    remote = (ctypes.c_size_t * 2)(address, length)
    LIBC.process_vm_readv(config["gateway"], local, 1, remote, 1, 0)
    if here.raw == config["secret"].encode():
        return True
    with open(f"/proc/{config['gateway']}/mem", "rb", buffering=0) as memory:
        memory.seek(address)
        return memory.read(length) == config["secret"].encode()


def gateway_signal(config):
    os.kill(config["gateway"], signal.SIGURG)  # harmless; SIGKILL would go the same way
    return True


def gateway_seen(config):
    return config["gateway_name"].encode() in read(f"/proc/{config['gateway']}/cmdline")


def supervisor_memory(config):
    """Whoever started this: its memory and its way to the gateway. Inside, that is PID 1."""
    parent = os.getppid()
    for target in ("mem", *(f"fd/{number}" for number in range(3, 20))):
        try:
            with open(f"/proc/{parent}/{target}", "r+b", buffering=0):
                return True
        except OSError:
            continue
    return False


def descriptors(config):
    """Whatever the gateway had open and forgot to close."""
    for number in range(3, 256):
        try:
            if os.pread(number, 64, 0) == config["secret"].encode():
                return True
        except OSError:
            continue
    return False


def environment(config):
    return config["secret"] in os.environ.values()


def environment_in_proc(config):
    secret = config["secret"].encode()
    return secret in read("/proc/self/environ")


ATTACKS = {
    attack.__name__: attack
    for attack in (
        tcp, udp, dns, name_lookup, routes, unix_path, unix_abstract, vsock, netlink, packet,
        host_file, host_file_by_parent, host_write, host_places, other_job, gateway_memory,
        gateway_signal, gateway_seen, supervisor_memory, descriptors, environment,
        environment_in_proc,
    )
}  # fmt: skip
