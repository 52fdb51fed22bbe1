"""What the coordinator refuses with, in the reader's language: its rooms speak English alone."""

import re
from collections.abc import Sequence
from functools import cache

from protos.pages.languages import Language
from protos.pages.words import _

# What may stand in a sentence beside words of one's own.
PARTS = {
    "count": r"\d+",
    "at": r"(?: \(character \d+\)| at character \d+)?",
    "nearest": r": (?:did you mean `[^`]*`\?|one of .+)",
    "field": r"[A-Za-z]+",
}
SENTENCES: Sequence[str] = (
    _("this question is for another federation"),
    _("there is no such project, or it is not yours to see"),
    _("there is no question of this name"),
    _("no site is called %(name)s: see `radfed site ls`"),
    _("a question counts patients, studies, series, instances or bytes"),
    _("a question has at most %(count)s conditions"),
    _("a question is broken down by at most %(count)s fields"),
    _("a question is broken down by each field once"),
    _("a project's name has at most %(count)s printable characters"),
    _("a question is noisy, public or exact"),
    _("an exact table counts patients: ask for other units with noise"),
    _("the public tables count patients, without a filter: %(tables)s"),
    _("a mean is taken of a number that the question is broken down by"),
    _("there is no field of this name; the fields are %(fields)s"),
    _("%(field)s is compared with = != IN%(at)s"),
    _("%(field)s is compared with = < <= > >= IN%(at)s"),
    _("%(field)s is compared with one value, or with IN and a list%(at)s"),
    _("an IN has at most %(count)s values%(at)s"),
    _("%(field)s is one of %(values)s"),
    _("%(field)s is compared with a number%(at)s"),
    _("this is longer than a question is"),
    _("this question is of another version of radfed"),
    _("this is no question: take the file as the page gave it, or as `radfed query sign` wrote it"),
    _("no round of this job has ended yet: there is no new model"),
    _("%(count)s questions are open: wait until one has ended"),
    _("a text or a number in it is none that can be stored"),
    _("a certificate of the role %(role)s may not call %(act)s"),
    _("the certificate has run out: enrol again or ask for a new one"),
    _("a filter has at most %(count)s characters"),
    _(
        "a question has at most %(count)s conditions, and BETWEEN is two: leave out what "
        "begins here%(at)s"
    ),
    _("no %(field)s is both above %(low)s and below %(high)s: exchange the two numbers"),
    _("the filter cannot be read%(at)s: %(hint)s"),
    _("the filter is nested too deeply: %(hint)s"),
    _("the filter is one expression: %(hint)s"),
    _("OR is not asked%(at)s: for several values write Field IN (...)"),
    _("NOT is not asked, it is not a condition%(at)s: write !=, or the opposite range"),
    _("this is not a condition%(at)s: %(hint)s"),
    _("conditions are joined by AND, such as: Modality = 'CT' AND PatientAge >= 50"),
    _("a field's name is expected%(at)s: %(fields)s"),
    _("`%(word)s`%(at)s is not a field%(nearest)s"),
    _("`%(word)s` in --by is not a field%(nearest)s"),
    _("`%(word)s` is not counted%(nearest)s"),
    _("`%(word)s`%(at)s is not a %(field)s%(nearest)s"),
    _("%(field)s is compared with a value%(at)s"),
    _("%(field)s is compared with a value%(at)s: text stands in single quotes"),
    _("%(field)s is compared with a number%(at)s, or = and a band's name: %(bands)s..."),
    _("%(field)s lies between %(low)s and %(high)s: %(number)s%(at)s is beyond"),
    _(" (character %(count)s)"),
    _(" at character %(count)s"),
    _(": did you mean `%(word)s`?"),
    _(": one of %(values)s"),
)


def fault_in_words(said: str, language: Language) -> str:
    """Return a refusal in the reader's language; what fits no sentence stays as it came."""
    if said in language.catalogue:
        return language.text(said)
    for pattern, sentence in _patterns():
        if (found := pattern.fullmatch(said)) is not None:
            values = {name: fault_in_words(v, language) for name, v in found.groupdict().items()}
            return language.text(sentence) % values
    return said


@cache
def _patterns() -> Sequence[tuple[re.Pattern[str], str]]:
    """Return what each sentence with values in it looks like."""
    return tuple((_pattern(one), one) for one in SENTENCES if "%(" in one)


def _pattern(sentence: str) -> re.Pattern[str]:
    pieces = re.split(r"%\((\w+)\)s", sentence)
    read = [
        f"(?P<{piece}>{PARTS.get(piece, '.+?')})" if at % 2 else re.escape(piece)
        for at, piece in enumerate(pieces)
    ]
    return re.compile("".join(read))
