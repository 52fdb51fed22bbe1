"""A console's two languages: catalogues read at start, and numbers and dates as each is read."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from importlib.resources import files
from io import BytesIO

from babel import Locale
from babel.dates import format_date, format_datetime
from babel.messages.pofile import read_po
from babel.numbers import format_decimal, format_percent
from markupsafe import Markup, escape

from protos.pages.inert import inert

SHARED = "protos.pages"
TAGS = ("zh-CN", "en")  # as HTML names them
NAMES = {"zh-CN": "中文", "en": "English"}
UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
THOUSAND = 1000


@dataclass(frozen=True, slots=True)
class Language:
    tag: str
    locale: Locale
    catalogue: Mapping[str, str]

    @property
    def name(self) -> str:
        return NAMES[self.tag]

    def text(self, said: object) -> str:
        """Return a word or sentence in this language; what no catalogue has stays as it is."""
        return self.catalogue.get(str(said), str(said))

    def say(self, said: object, **values: object) -> Markup:
        """Return a sentence with its values, each of them inert."""
        shown = {name: escape(inert(value)) for name, value in values.items()}
        text = escape(inert(self.text(said)))
        return Markup(text % shown) if values else Markup(text)  # noqa: S704 - both are escaped

    def number(self, value: float | None, digits: int = 0) -> str:
        if value is None:
            return "–"
        places = "#,##0." + "#" * digits if digits else "#,##0"
        return _decimal(value, places, self.locale)

    def percent(self, share: float, digits: int = 0) -> str:
        places = "0." + "0" * digits + "%" if digits else "0%"
        return str(format_percent(share, places, locale=self.locale))

    def size(self, count: float) -> str:
        """Return a number of bytes with three digits that count."""
        value, unit = float(count), 0
        while value >= THOUSAND and unit < len(UNITS) - 1:
            value, unit = value / THOUSAND, unit + 1
        return f"{self.number(value, 1 if unit and value < 100 else 0)} {UNITS[unit]}"  # noqa: PLR2004

    def moment(self, at: str | float | datetime | None) -> Markup:
        """Return a moment in the house's own time, with the exact one for machines."""
        if (when := _moment(at)) is None:
            return Markup(escape(inert(str(at or "–"))))  # noqa: S704 - escaped
        here = when.astimezone()
        shown = _clock(here.replace(microsecond=0), self.locale)
        return Markup('<time datetime="{}">{}</time>').format(here.isoformat("T", "seconds"), shown)

    def day(self, at: str | float | datetime | None) -> str:
        when = _moment(at)
        return "–" if when is None else str(format_date(when.astimezone(), locale=self.locale))


# Four hundred rows say much the same: a format is parsed anew for each number otherwise.
@lru_cache(maxsize=8192)
def _decimal(value: float, places: str, locale: Locale) -> str:
    return str(format_decimal(value, places, locale=locale))


@lru_cache(maxsize=8192)
def _clock(here: datetime, locale: Locale) -> str:
    return str(format_datetime(here, "medium", locale=locale))


def _moment(at: str | float | datetime | None) -> datetime | None:
    if isinstance(at, datetime):
        return at
    if isinstance(at, int | float):
        return datetime.fromtimestamp(at, UTC)
    try:
        return datetime.fromisoformat(at) if at else None
    except ValueError:
        return None


def load(house: str) -> dict[str, Language]:
    """Read the catalogues of a house's package, and those both consoles share."""
    return {
        tag: Language(
            tag, Locale.parse(tag, sep="-"), catalogue(SHARED, tag) | catalogue(house, tag)
        )
        for tag in TAGS
    }


def catalogue(package: str, tag: str) -> dict[str, str]:
    """Read a package's texts: `zh_CN.po`, or a file for each group of pages, `jobs.zh_CN.po`."""
    texts: dict[str, str] = {}
    for file in sorted((files(package) / "locale").iterdir(), key=lambda one: one.name):
        if file.name.endswith(f"{tag.replace('-', '_')}.po"):
            read = read_po(BytesIO(file.read_bytes()))
            texts |= {str(one.id): str(one.string) for one in read if one.id and one.string}
    return texts


def preferred(accepts: str) -> str:
    """Choose by what a browser asks for (RFC 9110 12.5.4), coarsely; Chinese where it says so."""
    asked = [part.partition(";")[0].strip().lower() for part in accepts.split(",")]
    for one in asked:
        for tag in TAGS:
            if one.partition("-")[0] == tag.partition("-")[0]:
                return tag
    return "en"
