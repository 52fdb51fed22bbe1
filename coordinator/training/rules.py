"""One job, one round: told what happened, it returns what to do."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from coordinator.model import Pooled
from protos.training import TrainingPlan


@dataclass(frozen=True, slots=True)
class Start:
    """Enough hospitals approved: open the first round."""

    sites: frozenset[str]


@dataclass(frozen=True, slots=True)
class Aggregate:
    """The round is over with these updates in it."""

    sites: frozenset[str]


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The job ends here, and this is why."""

    reason: str


Effect = Start | Aggregate | GiveUp


@dataclass(frozen=True, slots=True)
class Recruiting:
    """An offered job waits for hospitals' decisions."""

    offered: frozenset[str]
    quorum: int
    approved: frozenset[str] = frozenset()
    declined: frozenset[str] = frozenset()

    def decided(self, site: str, *, approved: bool) -> "Recruiting":
        """Take a hospital's newest word; a stranger's changes nothing."""
        if site not in self.offered:
            return self
        yes = self.approved | {site} if approved else self.approved - {site}
        no = self.declined - {site} if approved else self.declined | {site}
        return replace(self, approved=yes, declined=no)

    def effects(self, *, patience_over: bool) -> list[Effect]:
        """Start when all have spoken, or when patience is over and enough have approved."""
        if self.offered - self.approved - self.declined and not patience_over:
            return []
        if len(self.approved) >= self.quorum:
            return [Start(self.approved)]
        return [GiveUp(f"{len(self.approved)} of {self.quorum} needed hospitals approved")]


@dataclass(frozen=True, slots=True)
class Round:
    """k of n hospitals by a deadline, or as soon as `enough` of them have answered."""

    invited: frozenset[str]
    quorum: int
    enough: int = 0  # 0: all
    arrived: frozenset[str] = frozenset()
    dropped: frozenset[str] = frozenset()  # withheld, failed, refused
    closed: bool = False

    def update_arrived(self, site: str) -> tuple["Round", list[Effect]]:
        if self.closed or site not in self.invited or site in self.dropped:
            return self, []
        return _settled(replace(self, arrived=self.arrived | {site}))

    def site_dropped(self, site: str) -> tuple["Round", list[Effect]]:
        if self.closed or site not in self.invited or site in self.arrived:
            return self, []
        return _settled(replace(self, dropped=self.dropped | {site}))

    def settled(self) -> tuple["Round", list[Effect]]:
        """Say what follows from all that has come, whatever came first."""
        return (self, []) if self.closed else _settled(self)

    def deadline_passed(self) -> tuple["Round", list[Effect]]:
        return (self, []) if self.closed else _over(self)


def _settled(round_: Round) -> tuple[Round, list[Effect]]:
    """Close as soon as nobody is awaited, or enough have come."""
    awaited = round_.invited - round_.arrived - round_.dropped
    enough = 0 < round_.enough <= len(round_.arrived)
    return (round_, []) if awaited and not enough else _over(round_)


def _over(round_: Round) -> tuple[Round, list[Effect]]:
    over, arrived = replace(round_, closed=True), len(round_.arrived)
    if arrived >= round_.quorum:
        return over, [Aggregate(round_.arrived)]
    return over, [GiveUp(f"{arrived} of {round_.quorum} needed updates arrived")]


def best_round(figures: Sequence[Pooled], first: int = 1) -> int | None:
    """Return the round whose incoming model did best on held-out patients; the earliest of equals.

    A round's figure is of the model it started from: round 1 measures the one nobody trained yet.
    """
    measured = [(figure.auc, -figure.round) for figure in figures if figure.auc is not None]
    rounds = [pair for pair in measured if -pair[1] >= first]
    return -max(rounds)[1] if rounds else None


def has_lost_patience(plan: TrainingPlan, figures: Sequence[Pooled]) -> bool:
    """Say whether so many measured rounds in a row were no better than the best before them."""
    best = best_round(figures)
    if not plan.patience or best is None:
        return False
    since = [each for each in figures if each.auc is not None and each.round > best]
    return len(since) >= plan.patience


def chosen_round(plan: TrainingPlan, figures: Sequence[Pooled], newest: int) -> int:
    """Return the round whose incoming model is the job's result: a trained one, in any case."""
    best = best_round(figures, first=2) if plan.keep == "best" else None
    return newest if best is None else best
