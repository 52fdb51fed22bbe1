"""The conformance statement's tables (PS3.2 annex N), made from what the code itself goes by."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag
from pydicom.uid import UID

from gateway.app.build import build_profile
from gateway.config import GatewayConfig
from gateway.deid import claims, elements, pixels
from gateway.deid.engine import BASIC_CODE, OPTION_CODES
from gateway.deid.face_header import CLEAN_FACES
from gateway.deid.pixel_header import CLEAN_PIXEL_DATA
from gateway.deid.profile import Profile, load_profile, shipped_names
from gateway.deid.rules import Rulebook
from gateway.intake.rules import (
    IMPLEMENTATION_CLASS,
    IMPLEMENTATION_VERSION,
    STORAGE_CLASSES,
    TRANSFER_SYNTAXES,
    WITHOUT_PIXELS,
)
from gateway.store import part10
from gateway.syslog.messages import BEGIN_TRANSFERRING, INSTANCES_TRANSFERRED, MEANINGS

# Not of a profile as a whole: said by each instance to which it was applied.
OCCASIONAL_CODES = {
    "clean_pixel_data": CLEAN_PIXEL_DATA,
    "clean_recognizable_visual_features": CLEAN_FACES,
}
TYPES = ("1", "2", "3")
Rows = Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Section:
    """One table of the statement, with what has to be said before it."""

    title: str
    text: str
    columns: Sequence[str]
    rows: Rows

    def document(self) -> dict[str, Any]:
        rows = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        return {"title": self.title, "text": self.text, "rows": rows}


def statement(config: GatewayConfig | None) -> list[Section]:
    """Return every table; with a site's settings, its own profile and what it takes beside."""
    profiles = [load_profile(name) for name in shipped_names()]
    if config is not None:
        site = build_profile(config)
        if site.digest not in {profile.digest for profile in profiles}:
            profiles.append(site)
    return [
        _implementation(),
        _services(config),
        _classes(config, profiles[0]),
        _syntaxes(config),
        _charsets(),
        _profiles(profiles),
        _options(profiles),
        _exceptions(profiles),
        _attributes(profiles),
        _pixels(),
        _audit(),
    ]


def _audit() -> Section:
    """Say which audit messages there are: PS3.15 A.5, to a repository that the site names."""
    told = sorted({(each.event, each.type) for each in MEANINGS.values()}, key=str)
    rows = [
        (each.value, each.meaning, f"{kind.value} {kind.meaning}" if kind else "")
        for each, kind in (*told, (BEGIN_TRANSFERRING, None), (INSTANCES_TRANSFERRED, None))
    ]
    text = (
        "DICOM audit messages (PS3.15 A.5) over syslog TLS (RFC 5424, RFC 5425), off unless "
        "`[audit.syslog]` names a repository. Studies and patients are named by their pseudonyms."
    )
    return Section("Audit messages", text, ("code", "event", "type"), rows)


def as_markdown(sections: Sequence[Section]) -> str:
    lines = ["# DICOM conformance: radfed gateway", ""]
    for section in sections:
        lines += [f"## {section.title}", "", section.text, ""]
        lines += [_line(section.columns), _line(["---"] * len(section.columns))]
        lines += [*map(_line, section.rows), ""]
    return "\n".join(lines)


def as_html(sections: Sequence[Section]) -> str:
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        "<title>DICOM conformance: radfed gateway</title><style>",
        "body{font:15px/1.4 sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}",
        "table{border-collapse:collapse}th,td{text-align:left;vertical-align:top;",
        "padding:.15rem .5rem;border-bottom:1px solid #ddd}</style></head><body>",
        "<h1>DICOM conformance: radfed gateway</h1>",
    ]
    for section in sections:
        parts += [f"<h2>{escape(section.title)}</h2><p>{escape(section.text)}</p><table>"]
        parts += [_row("th", section.columns), *(_row("td", row) for row in section.rows)]
        parts += ["</table>"]
    return "\n".join([*parts, "</body></html>", ""])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _row(kind: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{kind}>{escape(cell)}</{kind}>" for cell in cells) + "</tr>"


def _implementation() -> Section:
    rows = (
        ("Network", IMPLEMENTATION_CLASS.decode(), IMPLEMENTATION_VERSION.decode()),
        ("Stored files", part10.IMPLEMENTATION_CLASS_UID, part10.IMPLEMENTATION_VERSION),
    )
    return Section(
        "Implementation",
        "An archive of de-identified copies for one hospital. It is no archive of originals.",
        ("Where", "Implementation Class UID", "Implementation Version Name"),
        rows,
    )


def _services(config: GatewayConfig | None) -> Section:
    commits = config is not None and any(peer.commitment for peer in config.intake.peers)
    granted = "SCP, of the de-identified copy" if commits else "not granted: a site opts in by peer"
    rows = (
        ("Verification", "SCP and SCU", ""),
        ("Storage", "SCP", "level 0 (local), no signatures kept, elements are coerced (PS3.4 B.4)"),
        ("Storage Commitment Push Model", granted, "PS3.4 annex J"),
        ("Study Root Query/Retrieve, FIND, MOVE and GET", "SCU", "for back-fill"),
    )
    return Section(
        "Services",
        "Success to a C-STORE is said after the copy is durable, or sealed for an operator.",
        ("Service", "Role", "Note"),
        rows,
    )


def _classes(config: GatewayConfig | None, profile: Profile) -> Section:
    rules = Rulebook(profile)
    site = frozenset(config.intake.private_sop_classes) if config else frozenset()
    uids = sorted({uid.decode() for uid in STORAGE_CLASSES} | site, key=_by_number)
    return Section(
        "Storage SOP Classes",
        "Each is taken; what cannot be cleaned waits, encrypted, in quarantine.",
        ("Name", "UID", "What becomes of it"),
        [(UID(uid).name, uid, _becomes(uid, rules)) for uid in uids],
    )


def _becomes(uid: str, rules: Rulebook) -> str:
    if uid in pixels.OPAQUE:
        return f"quarantine: {pixels.OPAQUE[uid]}"
    iod = rules.iod(uid)
    if iod is None:
        return "quarantine: its IOD is not in the tables"
    if uid in pixels.SCREENS:
        return f"header as {iod}; pixels: {pixels.SCREENS[uid]} may show a name"
    if uid in pixels.BANNERS:
        return f"header as {iod}; pixels are looked at unless BurnedInAnnotation is NO"
    return f"as {iod}"


def _syntaxes(config: GatewayConfig | None) -> Section:
    site = frozenset(config.intake.private_transfer_syntaxes) if config else frozenset()
    taken = sorted({uid.decode() for uid in TRANSFER_SYNTAXES} | site, key=_by_number)
    refused = sorted((uid.decode() for uid in WITHOUT_PIXELS), key=_by_number)
    rows = [(UID(uid).name, uid, "accepted") for uid in taken]
    rows += [(UID(uid).name, uid, "refused: no pixels travel in it") for uid in refused]
    return Section(
        "Transfer Syntaxes",
        "The first of the sender's list that is accepted; what was deflated is stored inflated.",
        ("Name", "UID", "In an association"),
        rows,
    )


def _charsets() -> Section:
    rows = [(term or "(none)",) for term in sorted(elements.CHARSETS)]
    text = (
        "Read as declared, or as what the bytes are where they belie it; text is stored as UTF-8."
    )
    return Section("Character Sets", text, ("Specific Character Set",), rows)


def _profiles(profiles: Sequence[Profile]) -> Section:
    rows = [
        (
            profile.name,
            profile.description,
            claims.dates(profile),
            str(profile.age_at_most),
            profile.tables.source,
            profile.digest,
        )
        for profile in profiles
    ]
    return Section(
        "De-identification Profiles",
        "All rest on the Basic Application Level Confidentiality Profile (PS3.15 E.2). A site may "
        "write its own as TOML. (0012,0062) is YES in all that is stored.",
        ("Profile", "For", "(0028,0303)", "Ages at most", "Table", "Digest"),
        rows,
    )


def _options(profiles: Sequence[Profile]) -> Section:
    rows = [(BASIC_CODE[1], BASIC_CODE[0], "", *("yes" for _ in profiles))]
    for option, (code, meaning) in OPTION_CODES.items():
        chosen = ("yes" if getattr(profile.options, option) else "" for profile in profiles)
        rows.append((meaning, code, option, *chosen))
    for option, (code, meaning) in OCCASIONAL_CODES.items():
        chosen = ("yes" if getattr(profile.options, option) else "" for profile in profiles)
        rows.append((meaning, code, option, *chosen))
    return Section(
        "Options",
        "Each is a switch of a profile; (0012,0064) names those applied (PS3.16 CID 7050). The two "
        "that change pixels are named in those instances alone that were looked at; (0028,0302) is "
        "NO where the last of them was applied, YES in slices of a head where it was not.",
        ("Option", "Code (DCM)", "Switch", *(profile.name for profile in profiles)),
        rows,
    )


def _exceptions(profiles: Sequence[Profile]) -> Section:
    rows = [
        (profile.name, keyword, override.action, _is_said(profile, keyword), override.reason)
        for profile in profiles
        for keyword, override in sorted(profile.attributes.items())
    ]
    return Section(
        "Exceptions",
        "Attributes a profile treats otherwise than its options would; what leaves more is said in "
        "(0012,0063).",
        ("Profile", "Attribute", "Action", "Leaves more", "Reason"),
        rows,
    )


def _is_said(profile: Profile, keyword: str) -> str:
    said = f"{keyword} {profile.attributes[keyword].action}"
    return "yes" if said in claims.exceptions(profile) else ""


def _attributes(profiles: Sequence[Profile]) -> Section:
    rules = [(profile, Rulebook(profile)) for profile in profiles]
    listed = profiles[0].tables.profile
    tags = sorted({*listed, *(tag for profile in profiles for tag in profile.overrides)})
    return Section(
        "Actions by Attribute",
        "Where an action depends on the attribute's type in its IOD: for type 1 / 2 / 3. An "
        "attribute its IOD does not have in that place is removed, and so are private attributes "
        "(unless safe, by option), curves, overlays and unknown groups.",
        ("Attribute", "Tag", "Table E.1-1", *(profile.name for profile in profiles)),
        [
            (
                _name(tag, profiles[0]),
                elements.place(tag),
                listed[tag].basic if tag in listed else "",
                *(_action(profile, rulebook, tag) for profile, rulebook in rules),
            )
            for tag in tags
        ],
    )


def _name(tag: int, profile: Profile) -> str:
    row = profile.tables.profile.get(tag)
    return row.name if row is not None else keyword_for_tag(tag)


def _action(profile: Profile, rules: Rulebook, tag: int) -> str:
    if override := profile.overrides.get(tag):
        return override.action
    if not dictionary_has_tag(tag):
        return "X"
    vr = dictionary_VR(tag).split(" or ")[0]
    by_type = [str(rules.without_overrides(tag, vr, of_type)) for of_type in TYPES]
    return by_type[0] if len(set(by_type)) == 1 else " / ".join(by_type)


def _pixels() -> Section:
    return Section(
        "Pixel Data",
        "Kept byte for byte where nothing suggests burned-in text; else the instance waits.",
        ("SOP Class", "UID", "Why it is looked at"),
        [*_risks()],
    )


def _risks() -> Iterator[tuple[str, str, str]]:
    for uid, what in {**pixels.SCREENS, **pixels.BANNERS}.items():
        yield UID(uid).name, uid, what
    yield "any", "", "BurnedInAnnotation YES; an image type that names a screen or a report; video"


def _by_number(uid: str) -> list[int]:
    return [int(part) for part in uid.split(".")]
