"""A model's card beside the model: written by `job result`, checked by `job verify`."""

import sys
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coordinator.errors import InvalidRequest, WrongMoment

if TYPE_CHECKING:
    from coordinator.api.client import Federation

CARD, SIGNATURE, PAGE = ".card.json", ".card.sig.json", ".card.md"


def fetch_card(federation: "Federation", job_id: str, model: Path, out: Path) -> dict[str, Any]:
    """Write the card of a model that is about to lie at `out`; a job that trains none has none."""
    from coordinator.evaluation.checking import Signature
    from coordinator.training.card_checking import check_card, check_model, is_card
    from coordinator.training.card_page import draw

    try:
        raw, key, signed = federation.report(job_id)
    except WrongMoment:
        return {}
    if not is_card(raw):
        return {}
    card = check_card(raw, key, signed, {})
    check_model(card, model)
    signature = Signature.model_construct(public_key=key.hex(), signature=signed.hex())
    page = draw(card, sha256(raw).hexdigest())
    sealed = signature.model_dump_json(indent=1)
    for ending, content in ((CARD, raw), (SIGNATURE, sealed.encode()), (PAGE, page.encode())):
        beside(out, ending).write_bytes(content)
    return {"card": str(beside(out, CARD)), "round": card.result.round, "auc": card.result.auc}


def beside(model: Path, ending: str) -> Path:
    return model.with_name(model.stem + ending)


def verify_card(file: Path, pinned: Mapping[str, str], updates: Path | None) -> dict[str, Any]:
    """Check a card, the model beside it, and each round where its updates are at hand."""
    from coordinator.evaluation.checking import Signature
    from coordinator.training.card_checking import check_card, check_model, in_directory, recompute

    if not file.name.endswith(CARD):
        raise InvalidRequest(f"a card's name ends in {CARD}, as `radfed job result` wrote it")
    stem = file.name.removesuffix(CARD)
    said = Signature.model_validate_json(file.with_name(stem + SIGNATURE).read_bytes())
    raw = file.read_bytes()
    key, signature = bytes.fromhex(said.public_key), bytes.fromhex(said.signature)
    card = check_card(raw, key, signature, pinned)
    model = file.with_name(f"{stem}.safetensors")
    if model.exists():
        check_model(card, model)
    made = None if updates is None else recompute(card, in_directory(updates), _progress)
    keys = {
        part.site: part.public_key for each in card.rounds for part in each.parts if part.signature
    }
    keys["coordinator"] = said.public_key
    return {
        "card": str(file),
        "sha256": sha256(raw).hexdigest(),
        "holds": True,
        "model": str(model) if model.exists() else "not beside it",
        "rounds_made_again": made if made is not None else "none: name their --updates",
        "signed_by": keys,
        "keys_compared": sorted(keys.keys() & pinned.keys()),
    }


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"round {done + 1} of {total}\r")
