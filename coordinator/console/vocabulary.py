"""Words that reach a page as values, for the catalogues: closed sets of the federation."""

from protos.pages.shell import Sayings
from protos.pages.words import _

SAYINGS = Sayings(
    no_account=_(
        "No account yet? An operator invites you on the page People and keys, or whoever runs "
        "the server types: radfed coordinator console invite"
    ),
    invite=_("On the server: radfed coordinator console invite"),
    roles=_("What an account may see and do is what the federation lets its role do."),
    ask=_("Ask an operator of the federation."),
    failed=_("Try again; the coordinator's log names it."),
)

# Roles, standings and states, as the rooms spell them.
WORDS = (
    _("operator"), _("reviewer"), _("vendor"), _("requester"), _("auditor"),
    _("invited"), _("active"), _("suspended"), _("revoked"),
)  # fmt: skip
