"""Words that reach a page as values, for the catalogues: closed sets of this house."""

from collections.abc import Mapping
from enum import StrEnum

from protos.pages.shell import Sayings
from protos.pages.words import _


class Notice(StrEnum):
    """What was done, as the address bar may say it."""

    RELEASED = "released"
    DROPPED = "dropped"
    APPROVED = "approved"
    SECOND = "second"
    STANDING = "standing"
    REJECTED = "rejected"
    REMOVED = "removed"


NOTICES: Mapping[str, str] = {
    Notice.RELEASED: _("Released: the line tries it again."),
    Notice.DROPPED: _("Dropped: its key was destroyed first."),
    Notice.APPROVED: _("Approved: exactly this bundle, by its digest."),
    Notice.SECOND: _("Your approval is noted. It counts when a second steward approves."),
    Notice.STANDING: _("Approved, and a standing rule was written to the policy."),
    Notice.REJECTED: _("Rejected: nothing of it runs here."),
    Notice.REMOVED: _("The account is removed and its sessions are ended."),
}

# Stages, states, grades, roles and kinds, as the rooms spell them.
WORDS = (
    _("offered"), _("waiting"), _("approved"), _("rejected"), _("refused"), _("withdrawn"),
    _("starting"), _("connected"), _("unreachable"), _("clock"), _("version"), _("stopped"),
    _("not enrolled"), _("hello"), _("heartbeat"), _("enrolment"), _("renewal"), _("preflight"),
    _("answer"), _("decision"), _("outcome"), _("fetch"), _("held"), _("chunk"),
    _("checkpoint"), _("log"), _("sum"), _("summand"), _("summing"),
    _("training"), _("evaluation"), _("steward"), _("reader"), _("vendor"), _("reviewer"),
    _("requester"), _("taken"), _("running"), _("released"), _("withheld"), _("failed"),
    _("link"), _("DICOM"), _("console"), _("association accepted"), _("association rejected"),
    _("association aborted"), _("certificate refused"),
)  # fmt: skip

SAYINGS = Sayings(
    no_account=_(
        "No account yet? A steward invites you on the page People, or whoever runs the server "
        "types: radfed gateway console invite"
    ),
    invite=_("On the server: radfed gateway console invite"),
    roles=_("A steward decides; a reader looks."),
    ask=_("Ask a steward."),
    failed=_("Try again; the gateway's log names it."),
)

# What the rooms of the console say.
SENTENCES = (
    _("This study is not here, or is not shown any more."),
    _("Look among the studies."),
    _("This page was of another bundle: read it again."),
    _("Somebody was quicker: nothing of yours was done."),
    _("Say why: the reason stays in the hospital."),
    _("there is no such entry: `radfed gateway quarantine ls` lists them"),
)

# Why something waits in quarantine and what to do about it, as deid and line say it.
REASONS = (
    _("its own UIDs are missing"),
    _("its SOP class is private or not in the tables"),
    _("its class hides content no rule can look through"),
    _("its sequences lie too deep in each other"),
    _("an element cannot be read"),
    _("something that identifies was left after cleaning"),
    _("it ends before its last element does"),
    _("its transfer syntax is not known here"),
    _("its pixel data do not fit its transfer syntax"),
    _("another instance of the same UID, with other pixel data, is stored already"),
    _("it does not open: changed or cut"),
    _("the header says text is burned into the pixels, and none was found"),
    _("Have the sender set Study, Series and SOP Instance UIDs."),
    _("Send the standard form of the object, or drop it from the route."),
    _("Keep such objects out of the route: the gateway takes no documents."),
    _("Look at the sender: no standard object nests more than 64 sequences."),
    _("Repair the named element at its source, and send again."),
    _("Look at it: drop it, or have the device say BurnedInAnnotation NO if that is true."),
    _("send it again from the PACS"),
    _("look at its pixels; release it if they show nothing of the patient, else drop it"),
    _("find out which one is right; drop this one, or give it a UID of its own"),
    _("restore the vault from a backup, or drop the entry"),
    _("restore the vault, or drop the entry"),
    _("a stored file's seal does not open: it was changed on the disk"),
    _("a stored file is not what was stored: its bytes were changed or cut on the disk"),
    _("a stored file lies under the name of another"),
    _("send its study again from the PACS, then drop this entry"),
    _("encapsulated pixel data has no end"),
    _("encapsulated pixel data are not made of items"),
    _("what follows pixel data cannot be read"),
    _("its compressed frames are not what its transfer syntax says"),
    _("have its sender compress it anew; release it only if it is known to name nobody"),
    _("something stands in the bits of its samples that are no picture"),
    _("have its sender send overlays apart; release it only if they are known to name nobody"),
    _("the file of this UID that is stored already is damaged"),
    _("stop the gateway, run `radfed gateway reindex`, start it, then release this entry"),
    _("its header is longer than the express lane buffers"),
    _("other headers fill the memory set aside for them"),
    _("its transfer syntax is deflated"),
    _("let the sender convert it to one that `radfed gateway conformance` lists, or drop it"),
    _("let the sender say the transfer syntax its pixel data are really in, and send it again"),
    _("its pixel data are longer than its rows, columns, frames, samples and bits account for"),
    _("have its sender correct it; release it only if what is left over is known to name nobody"),
    _("sequences are nested too deeply"),
    _("correct it at the sender: 64 levels are read"),
    _("its transfer syntax is deflated, its bytes are not"),
    _("it inflates to more than 256 MiB, or more than 200 times what was sent"),
    _("drop it, and let the sender send it in a transfer syntax that is not deflated"),
    _("its dataset is longer than `whole_bytes_at_most`"),
    _(
        "raise `whole_bytes_at_most` under [vault] if this machine has five times "
        "as much memory, look at its pixels and release it; or drop it"
    ),
    _("the gateway ended while it read this: for want of memory, or by chance"),
    _("see in the machine's log why it ended; look at its pixels and release it, or drop it"),
    _("a face may be seen in it, and it is no slice of a volume"),
    _("a line of text seems to stand in its pixels"),
    _("a rotated key's new version could not be brought to this stored file"),
    _("it came after the face of its series was removed, and lies where none of the series lay"),
    _("its series may show a face, and waits until it is whole"),
    _(
        "look at its pixels; release it only if no face can be seen in it or made of its "
        "series, else drop it"
    ),
    _(
        "look at its pixels; release it only if no face can be seen in it or made of its "
        "series, else drop it; have a scanner that is slow send a series at once, or "
        "raise `quiet_seconds` under [deid.faces]"
    ),
    _("wait: it is being read"),
)
