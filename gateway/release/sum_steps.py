"""What a step of a secure sum may carry: fields of fixed lengths, closed words, no free text."""

from gateway.release.rules import DIGEST_BYTES, RULES, Withheld, identifies_work
from protos.identity import NAME
from protos.shamir import SHARE_BYTES
from protos.v1 import sum_pb2

SIGNATURE_BYTES = 64
SEALED_BYTES = 12 + 2 * SHARE_BYTES + 16  # nonce, two shares, tag


def check_sum(report: sum_pb2.SumReport) -> Withheld | None:
    """Let out keys, digests, shares and signatures of their own lengths, and closed words."""
    if not identifies_work(report.task_id):
        return Withheld("identifier")
    sizes: tuple[tuple[int, int], ...]
    match report.WhichOneof("step"):
        case "keys":
            keys = report.keys
            exact = (keys.weights_digest, keys.mask_key, keys.seal_key, keys.self_mask_digest)
            signed = (len(keys.signature), SIGNATURE_BYTES)
            sizes = (*((len(one), DIGEST_BYTES) for one in exact), signed)
            names = [keys.site]
        case "shares":
            sizes = tuple((len(one.sealed), SEALED_BYTES) for one in report.shares.shares)
            names = [one.site for one in report.shares.shares]
        case "consent":
            sizes, names = ((len(report.consent.signature), SIGNATURE_BYTES),), []
        case "unmasking":
            opened = (*report.unmasking.self_masks, *report.unmasking.mask_keys)
            sizes = tuple((len(one.share), SHARE_BYTES) for one in opened)
            names = [one.site for one in opened]
        case "refusal":
            return None if report.refusal in RULES else Withheld("state")
        case _:
            return Withheld("form")
    if len(set(names)) < len(names) or not all(map(NAME.fullmatch, names)):
        return Withheld("form")  # of one hospital two shares would be both its secrets
    return None if all(size == wanted for size, wanted in sizes) else Withheld("form")
