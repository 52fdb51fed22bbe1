"""What a receiver does without: it passes pixels on and decodes none."""

import sys

# pydicom imports every decoder that is installed, as it is itself imported: 34 MB in each receiver.
DECODERS = ("numpy", "PIL", "gdcm", "pylibjpeg", "openjpeg", "libjpeg", "rle", "jpeg_ls")


def decode_nothing() -> None:
    """Make the decoders look absent to this process, before anything in it imports pydicom."""
    for name in DECODERS:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # None: "it is not there" (importlib)
