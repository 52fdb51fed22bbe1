"""One job, one round: told what happened, it returns what to do."""

from dataclasses import dataclass, replace


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
    """k of n hospitals by a deadline."""

    invited: frozenset[str]
    quorum: int
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

    def deadline_passed(self) -> tuple["Round", list[Effect]]:
        return (self, []) if self.closed else _over(self)


def _settled(round_: Round) -> tuple[Round, list[Effect]]:
    """Close as soon as nobody is awaited."""
    awaited = round_.invited - round_.arrived - round_.dropped
    return (round_, []) if awaited else _over(round_)


def _over(round_: Round) -> tuple[Round, list[Effect]]:
    over, arrived = replace(round_, closed=True), len(round_.arrived)
    if arrived >= round_.quorum:
        return over, [Aggregate(round_.arrived)]
    return over, [GiveUp(f"{arrived} of {round_.quorum} needed updates arrived")]
