"""Whether a model's card is what was signed, and its parts are what they say they are."""

import json
import math
import tempfile
from base64 import b64decode
from collections.abc import Callable, Mapping
from hashlib import file_digest
from itertools import pairwise
from pathlib import Path

from google.protobuf.message import DecodeError
from pydantic import ValidationError

from coordinator.errors import IntegrityFault, InvalidRequest
from coordinator.training.aggregate import UnusableUpdate
from coordinator.training.card import FORMAT, Card, Part, RoundOfCard
from coordinator.training.card_making import hospital_of, remarks, result_of
from coordinator.training.sums import Model, fold
from protos.digest import GENESIS
from protos.reports import card_statement, is_signed
from protos.transcripts import follows, is_sealed, part_of, parts_root, update_statement
from protos.v1.job_pb2 import RoundTranscript

Find = Callable[[bytes], Path | None]


def is_card(raw: bytes) -> bool:
    """Tell a model's card from a test's report."""
    return FORMAT.encode() in raw[:200]


def check_card(raw: bytes, key: bytes, signature: bytes, pinned: Mapping[str, str]) -> Card:
    """Return a card that holds; IntegrityFault names what does not."""
    if not is_signed(key, signature, card_statement(raw)):
        raise IntegrityFault("the card was altered after it was signed: believe nothing in it")
    _check_key("coordinator", key.hex(), pinned)
    try:
        card = Card.model_validate_json(raw)
        told = [_told(each, card, key) for each in card.rounds if each.transcript]
    except ValidationError as fault:
        raise IntegrityFault("the card is not of a form that is known here") from fault
    except (ValueError, DecodeError) as fault:
        raise IntegrityFault("what is signed in this card is damaged") from fault
    if told and (told[0].round != 1 or told[0].previous != GENESIS):
        raise IntegrityFault("the card's rounds do not begin with the first")
    if any(not follows(new, old) for old, new in pairwise(told)):
        raise IntegrityFault("a round does not begin where the one before it ended")
    for part in (part for each in card.rounds for part in each.parts):
        _check_part(part, pinned)
    _check_sums(card)
    return card


def check_model(card: Card, model: Path) -> None:
    if _digest(model).hex() != card.result.weights:
        raise IntegrityFault(f"{model} is not the model of this card")


def recompute(card: Card, find: Find, say: Callable[[int, int], None]) -> int:
    """Make every round's weights again of the updates; return how many rounds were."""
    if card.is_summed:
        raise InvalidRequest("its updates were added up under masks: leave --updates away")
    done, rounds = 0, [each for each in card.rounds if each.transcript]
    with tempfile.TemporaryDirectory(prefix="radfed-verify-") as folder:
        first = find(bytes.fromhex(rounds[0].weights)) if rounds else None
        if rounds and (first is None or _digest(first).hex() != rounds[0].weights):
            raise IntegrityFault("the weights that the first round started from are missing")
        model = Model(first) if first is not None else None
        for each in rounds:
            assert model is not None
            say(done, len(rounds))
            model = _again(card, each, model, find, Path(folder))
            done += 1
    return done


def in_directory(directory: Path) -> Find:
    """Find objects by digest: as the coordinator keeps them, or side by side."""

    def find(digest: bytes) -> Path | None:
        name = digest.hex()
        places = (directory / name[:2] / name, directory / name)
        return next((place for place in places if place.is_file()), None)

    return find


def _again(card: Card, its: RoundOfCard, before: Model, find: Find, folder: Path) -> Model:
    updates = []
    for part in its.parts:
        if part.in_sum and part.update:
            path = find(bytes.fromhex(part.update))
            if path is None or _digest(path).hex() != part.update:
                raise IntegrityFault(f"the update of {part.site} in round {its.number} is missing")
            updates.append((path, part.weight))
    state = folder / f"state-{its.number}" if card.plan.is_adaptive else None
    after = Model(folder / f"weights-{its.number}", state)
    try:
        fold(card.plan, before, updates, after, card.job)
    except UnusableUpdate as fault:
        raise IntegrityFault(f"round {its.number} cannot be made again: {fault}") from fault
    if _digest(after.weights) != _transcript(its).weights_after:
        raise IntegrityFault(f"the weights after round {its.number} are not made of its updates")
    for left in (before.weights, before.state):
        if left is not None and left.parent == folder:
            left.unlink()
    return after


def _told(its: RoundOfCard, card: Card, key: bytes) -> RoundTranscript:
    told = _transcript(its)
    parts = [
        part_of(part.task, bytes.fromhex(part.update), part.weight)
        for part in its.parts
        if part.in_sum
    ]
    said = (told.job_id, told.round, told.bundle_digest.hex(), told.weights_before.hex())
    if not is_sealed(told) or told.public_key != key:
        raise IntegrityFault(f"the coordinator did not sign round {its.number}")
    if said != (card.job, its.number, card.bundle, its.weights):
        raise IntegrityFault(f"what was signed of round {its.number} is of another round")
    if (told.parts_root, told.parts) != (parts_root(parts), len(parts)):
        raise IntegrityFault(f"the updates of round {its.number} are not those that were signed")
    following = next((e.weights for e in card.rounds if e.number == its.number + 1), None)
    if following not in {None, told.weights_after.hex()}:
        raise IntegrityFault(f"round {its.number + 1} did not start from what was signed")
    return told


def _transcript(its: RoundOfCard) -> RoundTranscript:
    return RoundTranscript.FromString(b64decode(its.transcript))


def _check_part(part: Part, pinned: Mapping[str, str]) -> None:
    if not part.update:
        return
    if part.site in pinned and not part.signature:
        raise IntegrityFault(f"{part.site} did not sign its update in this card")
    if part.signature:
        statement = update_statement(part.task, bytes.fromhex(part.update), part.weight)
        key, signature = bytes.fromhex(part.public_key), bytes.fromhex(part.signature)
        if not is_signed(key, signature, statement):
            raise IntegrityFault(f"{part.site} did not sign an update in this card")
        _check_key(part.site, part.public_key, pinned)


def _check_sums(card: Card) -> None:
    """Add up again what the card adds up."""
    noise = card.clip, card.sigma
    hospitals = [
        hospital_of(each.site, each.decision, each.rule, card.rounds, noise)
        for each in card.hospitals
    ]
    same = all(
        _alike(a.model_dump(), b.model_dump())
        for a, b in zip(hospitals, card.hospitals, strict=True)
    )
    result = result_of(card.plan, card.rounds, card.result.bytes)
    if not same or result != card.result or _remarks(card) != card.remarks:
        raise IntegrityFault("the figures of this card are not those of its rounds")


def _remarks(card: Card) -> tuple[str, ...]:
    return remarks(card.plan, card.sigma, is_summed=card.is_summed)


def _alike(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return one == other or math.isclose(one, other, rel_tol=1e-9)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[k], other[k]) for k in one)
    return json.dumps(one) == json.dumps(other)


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return file_digest(file, "sha256").digest()


def _check_key(name: str, key: str, pinned: Mapping[str, str]) -> None:
    if name in pinned and pinned[name] != key:
        raise IntegrityFault(f"the key of {name} is not the one you named")
