"""A stored instance brought to newer versions of the site's subkeys, without its original.

What the old versions replaced is replaced again, and dates move by what the shifts differ in: so
that it comes out as an instance that arrives now. Nothing else of it is touched.
"""

from dataclasses import replace
from datetime import date, timedelta

from pydicom.dataset import Dataset

from gateway.deid import actions, dates, elements, private, uids
from gateway.deid.elements import TooDeep, Unreadable
from gateway.deid.engine import UNSAID, Refusal, RefusalReason
from gateway.deid.facts import DeidFacts
from gateway.deid.profile import Profile
from gateway.deid.restrict import Restricted
from gateway.deid.rules import Action, Decision, Rulebook
from gateway.deid.strictness import PSEUDONYMS
from gateway.model import Original, Pseudonym, PseudoUID

FILLED = str(actions.FILLING["DA"])


class Rekeyer:
    """One profile's files, under one site's keys: every version of them, the first first."""

    def __init__(
        self, profile: Profile, pseudonym_keys: tuple[bytes, ...], shift_keys: tuple[bytes, ...]
    ) -> None:
        self._profile = profile
        self._rules = Rulebook(profile)
        self._keys = pseudonym_keys
        self._shift_keys = shift_keys
        self._versions = uids.numbers(pseudonym_keys, shift_keys)

    def is_newest(self, facts: DeidFacts) -> bool:
        return all(getattr(facts, name) >= number for name, number in self._versions.items())

    def named(self, facts: DeidFacts, uid: PseudoUID) -> PseudoUID:
        """Return what a UID in a stored instance becomes."""
        if self._profile.options.retain_uids:
            return uid
        return uids.remapped(uid, self._keys[facts.pseudonym_version :])

    def apply(self, dataset: Dataset, facts: DeidFacts, original: Original) -> Restricted | Refusal:
        """Bring a stored dataset to the newest versions, in place; it is spent either way."""
        try:
            return self._apply(dataset, facts, original)
        except (TooDeep, RecursionError):
            return Refusal(RefusalReason.TOO_DEEP, "sequences")
        except Unreadable as fault:
            return Refusal(RefusalReason.UNREADABLE, elements.place(fault.tag))
        except Exception:  # noqa: BLE001 - damage nobody foresaw: the stored file stays as it is
            return Refusal(RefusalReason.UNREADABLE, "header")

    def _apply(
        self, dataset: Dataset, facts: DeidFacts, original: Original
    ) -> Restricted | Refusal:
        iod = self._rules.iod(facts.sop_class_uid)
        if iod is None:
            return Refusal(RefusalReason.UNKNOWN_CLASS, "(0008,0016)")
        later = self._keys[facts.pseudonym_version :]
        patient = uids.renamed(facts.patient, later)
        anew = _Anew(self._rules, iod, patient, later, self._days(facts, original))
        anew.replace(dataset, elements.charset_of(dataset, UNSAID))
        return Restricted(
            dataset,
            replace(
                facts,
                sop_uid=self.named(facts, facts.sop_uid),
                series_uid=self.named(facts, facts.series_uid),
                study_uid=self.named(facts, facts.study_uid),
                patient=patient,
                **self._versions,
            ),
        )

    def _days(self, facts: DeidFacts, original: Original) -> int:
        """Return how much further back the newest shift goes than the one it was stored under."""
        root, at_most = uids.named(original, self._keys).root, self._profile.shift_days_at_most
        before = self._shift_keys[min(facts.shift_version, len(self._shift_keys)) - 1]
        shifts = [dates.shift_days(root, key, at_most) for key in (before, self._shift_keys[-1])]
        return shifts[1] - shifts[0]


class _Anew:
    """One pass over one instance."""

    def __init__(
        self, rules: Rulebook, iod: str, patient: Pseudonym, later: tuple[bytes, ...], days: int
    ) -> None:
        self._rules = rules
        self._iod = iod
        self._patient = patient
        self._later = later
        self._days = days

    def replace(
        self,
        dataset: Dataset,
        encodings: tuple[str, ...],
        sequence: int | None = None,
        depth: int = 0,
    ) -> None:
        elements.check_depth(depth)
        creators = private.creators(dataset) if self._rules.keeps_private else {}
        for tag in elements.tags(dataset):
            if tag in creators:
                continue
            whose = creators.get(private.block_of(tag)) if creators else None
            sent = elements.held(dataset, tag).VR
            decision = self._rules.decide(self._iod, sequence, tag, sent, whose)
            if decision.vr == "SQ":
                for item in elements.items(dataset, tag):
                    self.replace(item, encodings, int(tag), depth + 1)
                continue
            values = self._replaced(dataset, tag, decision, encodings)
            if values is not None:
                elements.put(dataset, tag, decision.vr, values[0] if len(values) == 1 else values)

    def _replaced(
        self, dataset: Dataset, tag: int, decision: Decision, encodings: tuple[str, ...]
    ) -> list[str] | None:
        """Return what takes an element's place; None where it stays."""
        action, vr = decision.action, decision.vr
        dated = action is Action.CLEAN and vr in ("DA", "DT") and self._days != 0
        uid = action is Action.UID or (action is Action.DUMMY and vr == "UI")
        hidden = action is Action.DUMMY and tag in PSEUDONYMS and self._later
        if not (dated or hidden or (uid and self._later)):
            return None
        written = elements.values(elements.held(dataset, tag), encodings, vr)
        if not any(value.strip("\0 ") for value in written):
            return None
        if dated:
            return [moved(value.strip("\0 "), self._days) for value in written]
        if uid:
            return [self._uid(value.strip("\0 ")) for value in written]
        if tag == actions.ACCESSION:
            return [uids.rekeyed("accession", written[0].strip(), self._later)]
        return [self._patient]

    def _uid(self, value: str) -> str:
        if not value or uids.is_well_known(value):
            return value
        return uids.remapped(PseudoUID(value), self._later)


def moved(value: str, days: int) -> str:
    """Move a shifted date on, into any year; a filling value, and what is no date, stay."""
    match = dates.DATE_TIME.fullmatch(value)
    if match is None or value.startswith(FILLED):
        return value
    written = match["date"]
    day = written + "19700701"[len(written) :]  # as `dates.shift_datetime` completes it
    try:
        there = date(int(day[:4]), int(day[4:6]), int(day[6:])) - timedelta(days)
    except (ValueError, OverflowError):
        return value
    return f"{there.year:04d}{there:%m%d}"[: len(written)] + value[len(written) :]
