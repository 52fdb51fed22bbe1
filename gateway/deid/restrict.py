"""A stored instance brought from its profile to a stricter one, without its original.

What the old profile replaced stays replaced: a UID is not remapped twice, a date not shifted twice.
The rest is treated by the same actions as an instance that arrives, so that both come out the same.
"""

from dataclasses import dataclass, replace

from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian

from gateway.deid import actions, elements, identity, names, scan, uids
from gateway.deid.actions import Patient
from gateway.deid.dates import shift_days
from gateway.deid.elements import TooDeep, Unreadable
from gateway.deid.engine import UNSAID, Refusal, RefusalReason, name_charset, retained, sign
from gateway.deid.facts import DeidFacts, Header
from gateway.deid.profile import Profile
from gateway.deid.rules import DATES, Action, Decision, Rulebook
from gateway.deid.strictness import Left, information
from gateway.deid.treating import Sent, Treatment
from gateway.model import Original, PseudoUID, RealUID


@dataclass(frozen=True, slots=True)
class Restricted:
    dataset: Dataset
    facts: DeidFacts


@dataclass(frozen=True, slots=True)
class _Shift:
    """How far an element's dates still have to go, and where they are."""

    before: int
    after: int

    def left(self, was: Decision, will: Decision) -> int:
        done = self.before if was.action is Action.CLEAN else 0
        wanted = self.after if will.action is Action.CLEAN else 0
        return wanted - done


class Restrictor:
    """From one profile to a stricter one (`strictness.compare`), under one site's keys."""

    def __init__(
        self, old: Profile, new: Profile, pseudonym_key: uids.Keys, shift_key: uids.Keys
    ) -> None:
        self._old, self._new = old, new
        self._was, self._will = Rulebook(old), Rulebook(new)
        self._key, self._shift_key = pseudonym_key, uids.versions(shift_key)[-1]
        self._retained = retained(new)

    def apply(self, dataset: Dataset, facts: DeidFacts, original: Original) -> Restricted | Refusal:
        """Bring a stored dataset to the new profile, in place; it is spent either way."""
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
        encodings = elements.charset_of(dataset, UNSAID)
        iod = self._will.iod(facts.sop_class_uid)
        if iod is None:
            return Refusal(RefusalReason.UNKNOWN_CLASS, "(0008,0016)")
        patient = self._patient(dataset, facts, original, encodings)
        shift = _Shift(self._days(self._old, original), patient.days)
        besides = self._besides(dataset)
        self._treat(dataset, iod, encodings, patient, shift)
        for tag in (actions.PATIENT_ID, actions.PATIENT_NAME):
            if not elements.present(dataset, tag):
                elements.put(dataset, tag, "LO" if tag == actions.PATIENT_ID else "PN", "")
                actions.act(dataset, tag, self._will.decide(iod, None, tag, None), (), patient)
        self._sign(dataset, besides)
        name_charset(dataset)
        if facts.transfer_syntax_uid != ImplicitVRLittleEndian:
            elements.spell_vrs(dataset)
        if here := scan.leftover(dataset, patient.known, private=self._will.keeps_private):
            return Refusal(RefusalReason.LEFTOVER, here)
        return Restricted(dataset, self._facts(dataset, facts, original))

    def _besides(self, dataset: Dataset) -> tuple[list[Dataset], list[str]]:
        """Return what was done to this one instance, besides what its profile does to all."""
        signed = Dataset()
        sign(signed, self._old)
        known = {item.CodeValue for item in signed.DeidentificationMethodCodeSequence}
        codes = [
            item
            for item in dataset.get("DeidentificationMethodCodeSequence") or ()
            if item.CodeValue not in known
        ]
        said = dataset.get("DeidentificationMethod") or []
        methods = [said] if isinstance(said, str) else list(said)
        return codes, [one for one in methods if one not in signed.DeidentificationMethod]

    def _sign(self, dataset: Dataset, besides: tuple[list[Dataset], list[str]]) -> None:
        sign(dataset, self._new)
        codes, methods = besides
        first, *others = dataset.DeidentificationMethodCodeSequence
        dataset.DeidentificationMethodCodeSequence = [first, *codes, *others]
        dataset.DeidentificationMethod = [*dataset.DeidentificationMethod, *methods]

    def _days(self, profile: Profile, original: Original) -> int:
        root = uids.named(original, self._key).root
        return shift_days(root, self._shift_key, profile.shift_days_at_most)

    def _patient(
        self, dataset: Dataset, facts: DeidFacts, original: Original, encodings: tuple[str, ...]
    ) -> Patient:
        """Gather whom it is about: what the file still says, and what its sealed record knows."""
        people = identity.gather(dataset, encodings, self._retained)
        people.people.discard(facts.patient)
        people.numbers.discard(facts.patient)
        people.numbers.update(value for value in original.patient_id.split("\\") if value)
        people.places.update(value for value in original.issuer.split("\\") if value)
        known = names.known(*people.freeze())
        days = self._days(self._new, original)
        return Patient(facts.patient, days, known, self._key, self._new.age_at_most)

    def _treat(
        self,
        dataset: Dataset,
        iod: str,
        encodings: tuple[str, ...],
        patient: Patient,
        shift: _Shift,
    ) -> None:
        def act(
            holder: Dataset, tag: int, will: Decision, sent: Sent, inner: tuple[str, ...]
        ) -> None:
            was = self._was.decide(iod, sent.sequence, tag, sent.vr, sent.creator)
            self._one(holder, tag, was, will, inner, patient, shift)

        kept_private = self._was.keeps_private
        Treatment(self._will, iod, act, private_may_stand=kept_private).treat(dataset, encodings)

    def _one(
        self,
        dataset: Dataset,
        tag: int,
        was: Decision,
        will: Decision,
        encodings: tuple[str, ...],
        patient: Patient,
        shift: _Shift,
    ) -> None:
        here, there = (information(one.action, tag, one.vr) for one in (was, will))
        if here is there is Left.PSEUDONYM:
            return  # replaced once, under the same key
        if will.vr in DATES and there >= Left.CLEANED:
            left = shift.left(was, will)
            if left:
                moved = replace(patient, days=left)
                actions.act(dataset, tag, will, encodings, moved)
            return
        actions.act(dataset, tag, will, encodings, patient)

    def _facts(self, dataset: Dataset, facts: DeidFacts, original: Original) -> DeidFacts:
        at_most = self._new.age_at_most
        return replace(
            facts,
            sop_uid=self._filed(original.sop_uid),
            series_uid=self._filed(original.series_uid),
            study_uid=self._filed(original.study_uid),
            profile_digest=self._new.digest,
            age_years=None if facts.age_years is None else min(facts.age_years, at_most),
            model=Header(dataset, ("utf-8",)).first("ManufacturerModelName"),
        )

    def _filed(self, real: RealUID) -> PseudoUID:
        if self._new.options.retain_uids:
            return PseudoUID(real)
        return uids.pseudo_uid(real, self._key)
