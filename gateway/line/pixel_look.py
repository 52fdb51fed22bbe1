"""What becomes of risky pixels: looked at and cleaned, kept as they are, or left to an operator."""

from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from typing import Protocol

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from gateway.deid.engine import Deidentified
from gateway.deid.pixel_header import pixels_alone, put_native, put_same, say_blanked, say_looked
from gateway.deid.pixel_rules import Corners, PixelSettings, known_regions
from gateway.deid.pixels import Risk, RiskKind
from gateway.errors import GatewayError
from gateway.line.encoding import Syntax, encode
from gateway.line.pixel_wire import Answer, Question
from gateway.vault.entry import Reason

PLACE = "(7FE0,0010)"
NEEDED = ("rapidocr", "onnxruntime")
LOOK = "look at its pixels; release it if they show nothing of the patient, else drop it"
INSTALL = (
    f"{LOOK}; or drop it, install text recognition (`pip install 'radfed[ocr]'`), restart, "
    "and send it again"
)
NOT_FOUND = "the header says text is burned into the pixels, and none was found"


def is_installed() -> bool:
    """Say whether text can be read here; whoever asks does without the decoders itself."""
    return all(find_spec(name) is not None for name in NEEDED)


class LookInterrupted(GatewayError):
    """The gateway stops: the instance stays where it is, and is looked at after the next start."""


class Looker(Protocol):
    """Looks at pixels somewhere else, within bounds of time and memory."""

    def ask(self, question: Question, stopping: Callable[[], bool]) -> Answer: ...


class Doubtful(Exception):
    """An operator must look, for this reason."""

    def __init__(self, reason: Reason) -> None:
        self.reason = reason


class PixelLook:
    """The profile's word on pixels, and whoever can look at them, if anybody can."""

    def __init__(self, settings: PixelSettings | None = None, looker: Looker | None = None) -> None:
        self._settings = settings  # None: the profile does not clean pixels
        self._looker = looker  # None: text recognition is not installed

    @property
    def can_read(self) -> bool:
        """Say whether text is looked for here, by this profile and with what is installed."""
        return self._settings is not None and self._looker is not None

    def known(self, dataset: Dataset) -> list[Corners]:
        """Return the regions its device prints in, while the header still names the device."""
        return [] if self._settings is None else known_regions(self._settings, dataset)

    def pass_through(
        self,
        result: Deidentified,
        syntax: Syntax,
        known: list[Corners],
        stopping: Callable[[], bool],
    ) -> Deidentified:
        """Return what may be stored; Doubtful where nobody may keep the pixels unseen."""
        risk = result.needs_pixels
        assert risk is not None
        if self._looker is None and risk.kind is RiskKind.UNSEEN:
            return result
        if risk.kind is RiskKind.VIDEO or self._is_left_to_people(risk):
            raise Doubtful(Reason(risk.why, PLACE, LOOK))
        if self._looker is None:
            raise Doubtful(Reason(risk.why, PLACE, INSTALL))
        question = Question(
            dataset=encode(pixels_alone(result.dataset), syntax.encoding),
            transfer_syntax_uid=result.facts.transfer_syntax_uid,
            known=known,
        )
        answer = self._looker.ask(question, stopping)
        if answer.doubt or (risk.kind is RiskKind.DECLARED and not answer.boxes):
            raise Doubtful(Reason(answer.doubt or NOT_FOUND, PLACE, LOOK))
        return _cleaned(result, syntax, answer)

    def _is_left_to_people(self, risk: Risk) -> bool:
        if self._settings is None:
            return True
        return risk.kind is RiskKind.SCREEN and self._settings.screens == "quarantine"


def _cleaned(result: Deidentified, syntax: Syntax, answer: Answer) -> Deidentified:
    """Write what was found into the dataset; pixels without text stay as they came."""
    dataset, facts = result.dataset, result.facts
    say_looked(dataset)
    if not answer.boxes:
        return result
    say_blanked(dataset, answer.boxes)
    if not syntax.encapsulated:
        put_same(dataset, answer.pixels, dataset["PixelData"].VR)
        return result
    put_native(dataset, answer.pixels, answer.photometric, facts.transfer_syntax_uid)
    return replace(result, facts=replace(facts, transfer_syntax_uid=str(ExplicitVRLittleEndian)))
