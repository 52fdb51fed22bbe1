"""Text that others wrote, so that nothing in it acts: not as markup, not on the eye."""

from markupsafe import Markup

LONGEST = 20_000


def inert(value: object) -> object:
    """Spell out control and direction marks; templates pass every value through here.

    Markup is escaped by the templates themselves, after this.
    """
    if value is None:
        return ""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    if value.isprintable() and len(value) <= LONGEST:
        return value
    return "".join(map(_shown, value[:LONGEST])) + ("…" if len(value) > LONGEST else "")


def _shown(character: str) -> str:
    if character.isprintable() or character in "\n\t":
        return character
    return f"⟨U+{ord(character):04X}⟩"  # so that a reviewer of code sees what would hide
