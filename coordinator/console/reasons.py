"""Why a job ended, as the coordinator stored it, said in the reader's language."""

import re
from collections.abc import Sequence

from protos.pages.languages import Language
from protos.pages.words import _

# As the desk and the driver write them; what fits none is shown as it is.
REASONS: Sequence[tuple[re.Pattern[str], str]] = (
    (re.compile(r"stopped by (?P<who>.+)"), _("stopped by %(who)s")),
    (
        re.compile(r"(?P<some>\d+) of (?P<needed>\d+) needed hospitals approved"),
        _("%(some)s of %(needed)s needed hospitals approved"),
    ),
    (
        re.compile(
            r"round (?P<round>\d+): (?P<some>\d+) of (?P<needed>\d+) needed updates arrived"
        ),
        _("round %(round)s: %(some)s of %(needed)s needed updates arrived"),
    ),
    (
        re.compile(r"no hospital runs this job any more"),
        _("no hospital runs this job any more"),
    ),
)


def reason_in_words(said: str, language: Language) -> str:
    for pattern, sentence in REASONS:
        if (found := pattern.fullmatch(said)) is not None:
            values = found.groupdict()
            text = language.text(sentence)
            return text % values if values else text
    return said
