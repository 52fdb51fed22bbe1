"""A model's card for a person: Markdown, drawn from the signed file and from nothing else."""

from collections.abc import Iterable, Sequence

from coordinator.training.card import Card


def draw(card: Card, sha256: str) -> str:
    """Return the page; its tables hold what the JSON holds."""
    result = card.result
    bounded = card.sigma > 0
    lines = [
        f"# {card.name}",
        "",
        card.purpose,
        "",
        *_facts(
            ("federation", card.federation),
            ("job", card.job),
            ("project", card.project or "none"),
            ("ended", card.stage + (f" ({card.reason})" if card.reason else "")),
            ("model", f"SHA-256 {result.weights}, {result.bytes} bytes"),
            ("chosen", f"{result.chosen}: the model round {result.round} started from"),
            ("AUC", _auc(result.auc, result.auc_low, result.auc_high)),
            ("trained on", f"label {card.label}; {'; '.join(card.cohort)}"),
            ("strategy", _plan(card)),
            ("noise", f"clip {card.clip:g}, sigma {card.sigma:g}" + ("" if bounded else ": none")),
            ("bundle", card.bundle),
            ("reviews", str(card.reviews)),
        ),
        "",
        *(f"- {remark}" for remark in card.remarks),
        "",
        "## Hospitals",
        "",
        *_table(
            ("hospital", "decision", "patients", "in sums", "how its rounds ended", "bits",
             f"epsilon at {card.delta:g}"),
            (
                (
                    each.site,
                    each.decision + (f" ({each.rule})" if each.rule else ""),
                    f"{each.patients:.0f}",
                    str(each.updates_in_sum),
                    ", ".join(f"{end} {count}" for end, count in sorted(each.ends.items())),
                    "no bound" if each.leakage_bits < 0 else f"{each.leakage_bits:,.0f}",
                    f"{each.epsilon:.4g}",
                )
                for each in card.hospitals
            ),
        ),
        "",
        "## Rounds",
        "",
        *_table(
            ("round", "started from", "AUC of that", "in the sum", "not in it"),
            (
                (
                    f"{each.number}" + (" (measured only)" if each.only_measured else ""),
                    each.weights[:16],
                    _auc(each.auc, each.auc_low, each.auc_high),
                    ", ".join(part.site for part in each.parts if part.in_sum),
                    ", ".join(
                        f"{part.site}: {part.state}" + (f" {part.code}" if part.code else "")
                        for part in each.parts
                        if not part.in_sum
                    ),
                )
                for each in card.rounds
            ),
        ),
        "",
        f"Signed as JSON, SHA-256 {sha256}: `radfed job verify` checks it.",
        "",
    ]  # fmt: skip
    return "\n".join(lines)


def _plan(card: Card) -> str:
    plan = card.plan.model_dump(exclude_unset=True, exclude={"strategy"})
    own = [f"{name} {value}" for name, value in plan.items()]
    return ", ".join([str(card.plan.strategy), *own, f"quorum {card.quorum}"])


def _auc(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "not measured"
    return f"{value:.3f}" if low is None else f"{value:.3f} ({low:.3f} to {high:.3f})"


def _facts(*facts: tuple[str, str]) -> list[str]:
    return _table(("", ""), facts)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [_row(columns), _row(["---"] * len(columns))]
    return [*lines, *map(_row, rows)]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
