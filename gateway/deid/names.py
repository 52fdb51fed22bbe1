"""What an instance itself says about the people in it, as a pattern to find them by elsewhere."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from itertools import filterfalse, pairwise, permutations

from gateway.deid import folding, pinyin
from gateway.deid.medicine import WORDS as COMMON
from gateway.deid.medicine import is_medicine

SHORTEST_ID = 4
SUBSTRING_ID = 6  # from here on an ID is looked for inside longer strings too
GROUPED_ID = 8  # and, from here on, with a pause between any two of its characters
SUBSTRING_WORD = 5
SUBSTRING_NAME = 7
SHORTEST_PLACE = 6
SHORTEST_CHINESE_PLACE = 3  # 省三院
MOST_PARTS = 3
SHORTEST_JOINED = 3  # `S R` is a name, `SR` a modality
BETWEEN = r"[\s,;:^_.=\-·・]*"
PAUSE = r"[\s_.\-]?"
LETTER = r"[^\W\d_\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"  # of words that are written apart
BEFORE, AFTER = rf"(?<!{LETTER})", rf"(?!{LETTER})"
CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]")
SEPARATED = re.compile(r"[\s_.\-]")
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
NUMERALS = str.maketrans("0123456789", "〇一二三四五六七八九")


@dataclass(slots=True)
class Identity:
    """Everything identifying that was found in one instance."""

    people: set[str] = field(default_factory=set)  # PN values, every reading
    numbers: set[str] = field(default_factory=set)  # IDs, accession and phone numbers
    places: set[str] = field(default_factory=set)  # institutions, addresses, organisations
    births: set[date] = field(default_factory=set)

    def freeze(self) -> tuple[frozenset[str], frozenset[str], frozenset[str], frozenset[date]]:
        return (
            frozenset(self.people),
            frozenset(self.numbers),
            frozenset(self.places),
            frozenset(self.births),
        )


@dataclass(frozen=True, slots=True)
class Known:
    """The identity as patterns: one for text, one for bytes that may hold text."""

    text: re.Pattern[str] | None
    raw: re.Pattern[bytes] | None

    def found_in(self, text: str) -> bool:
        return self.text is not None and self.text.search(folding.plain(text)) is not None


@lru_cache(maxsize=512)
def known(
    people: frozenset[str],
    numbers: frozenset[str],
    places: frozenset[str],
    births: frozenset[date],
) -> Known:
    """Compile what is known; the images of a series share it."""
    patterns: set[str] = set()
    literals: set[str] = set()
    for person in people:
        for parts in component_groups(folding.plain(person)):
            patterns.update(_name_patterns(parts))
            literals.update(_name_literals(parts))
        if not person.isascii():  # bytes are searched as they are
            literals.update(*map(_name_literals, component_groups(person)))
    for number in _written(numbers):
        literals.add(number)
        patterns.add(_id_pattern(folding.plain(number)))
    for birth in births:
        literals.update(_birth_literals(birth))
        patterns.update(_birth_patterns(birth))
    for place in places:
        if is_medicine(place):  # `CT Radiology` is a department everywhere
            continue
        if len(place) >= SHORTEST_PLACE or len(CJK.findall(place)) >= SHORTEST_CHINESE_PLACE:
            literals.add(place)
            patterns.add(BETWEEN.join(map(re.escape, folding.plain(place).split())))
    return Known(_compile(patterns), _compile_raw(literals))


def component_groups(person: str) -> Iterator[list[str]]:
    """Yield the words of each component group of a PN (PS3.5 6.2.1): 字母, 表意, 表音."""
    for group in person.split("="):
        words = [word for word in re.split(r"[\^\s,;._*()（）、，·・-]+", group) if word]
        if words:
            yield words


def _name_patterns(words: list[str]) -> Iterator[str]:
    telling = [word for word in words if word.upper() not in COMMON]
    for word in telling:
        if CJK.search(word):
            if len(word) > 1:
                yield BETWEEN.join(map(re.escape, word))  # 张 伟
                yield from pinyin.turned(word)
                yield from filterfalse(is_medicine, pinyin.given(word))  # 增强 is nobody's alone
        elif len(word) >= SUBSTRING_WORD:
            yield PAUSE.join(map(pinyin.any_accent, word))  # ZHANG WEI of ZHANGWEI
        elif len(word) > 1 and not word.isdigit():
            yield BEFORE + pinyin.any_accent(word) + AFTER
    yield from pinyin.spelt(telling)
    yield from pinyin.written(words)
    if telling:
        yield from pinyin.with_initials(words)
    for count in range(2, min(len(words), MOST_PARTS) + 1):
        for some in permutations(words[:MOST_PARTS], count):
            long = sum(map(len, some)) >= SHORTEST_JOINED or any(map(CJK.search, some))
            if long and not telling_of(some).isdisjoint(telling):  # `MA LI`, not `MA` alone
                yield _joined(some)


def telling_of(words: Iterable[str]) -> frozenset[str]:
    """Return the words that may name somebody: a number does not."""
    return frozenset(word for word in words if not word.isdigit())


def _joined(words: Sequence[str]) -> str:
    plain = "".join(words)
    spelt = (BETWEEN.join(one) if CJK.search(one) else pinyin.any_accent(one) for one in words)
    text = BETWEEN.join(spelt)
    alone = len(plain) < SUBSTRING_NAME and not CJK.search(plain)  # MA LI is not MALIGNANT
    return BEFORE + text + AFTER if alone else text


def _name_literals(words: list[str]) -> Iterator[str]:
    """Yield what to look for in bytes: words, and any two of the first three spelt plainly."""
    telling = [word for word in words if word.upper() not in COMMON]
    yield from telling
    yield from pinyin.plainly(telling)
    for first, second in permutations(words[:MOST_PARTS], 2):
        if not telling_of((first, second)).isdisjoint(telling):
            yield from (first + between + second for between in ("", " ", "^"))


def _written(numbers: Iterable[str]) -> Iterator[str]:
    for number in numbers:
        yield from {number, "".join(number.split()), number.lstrip("0")}


def _birth_literals(birth: date) -> Iterator[str]:
    for form in ("%Y%m%d", "%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d/%m/%Y", "%m/%d/%Y"):
        yield birth.strftime(form)
    yield f"{birth.year}年{birth.month}月{birth.day}日"


def _birth_patterns(birth: date) -> Iterator[str]:
    """Yield a day in any notation: orders, separators, names of months, Chinese numerals."""
    year, month, day = birth.year, birth.month, birth.day
    short, named = f"{year % 100:02d}", rf"{MONTHS[month - 1]}[a-z]*"
    any_year, nth = f"(?:{year}|{short})", "(?:st|nd|rd|th)?"
    numbers = rf"{year}\s*[-/._年\s]?\s*0?{month}\s*[-/._月\s]?\s*0?{day}\s*[日号]?"
    first, second = rf"0?{day}[-/._\s]0?{month}", rf"0?{month}[-/._\s]0?{day}"
    yield rf"(?<!\d){numbers}(?!\d)"
    yield rf"(?<!\d)(?:{first}|{second})[-/._\s]{any_year}(?!\d)"
    yield rf"(?<!\d){short}[-/.年]0?{month}[-/.月]0?{day}(?!\d)"
    yield rf"(?<![A-Za-z]){named}[-\s.]*0?{day}{nth}[,\s]*{year}(?!\d)"
    yield rf"(?<!\d)0?{day}{nth}[-\s.]*{named}[-\s.,]*{any_year}(?!\d)"
    years = f"(?:{str(year).translate(NUMERALS)}|{short.translate(NUMERALS)})"
    yield f"{years}年{_numeral(month)}月{_numeral(day)}[日号]?"
    yield rf"(?<![\d.]){short}{month:02d}{day:02d}(?![\d.])"


def _numeral(number: int) -> str:
    """Write a number below a hundred in Chinese: 二十八."""
    tens, ones = divmod(number, 10)
    before = ("" if tens == 1 else str(tens).translate(NUMERALS)) + "十" if tens else ""
    return before + (str(ones).translate(NUMERALS) if ones else "")


def _id_pattern(number: str) -> str:
    if len(number) < SHORTEST_ID or number.upper() in COMMON:
        return ""
    if len(number) >= SUBSTRING_ID:
        number = SEPARATED.sub("", number) or number
        grouped = len(number) >= GROUPED_ID or not number.isdigit()
        return (PAUSE if grouped else "").join(map(re.escape, number))
    return rf"(?<![0-9A-Za-z]){''.join(map(re.escape, number))}(?![0-9A-Za-z])"


def _compile(patterns: set[str]) -> re.Pattern[str] | None:
    # The longest first: `ZHANG^SAN` before `ZHANG`.
    parts = sorted(filter(None, patterns), key=_letters, reverse=True)
    return re.compile("|".join(parts), re.IGNORECASE) if parts else None


def _letters(pattern: str) -> int:
    for apart in (PAUSE, BETWEEN, BEFORE, AFTER):
        pattern = pattern.replace(apart, "")
    return len(pattern)


def _is_ramp(literal: str) -> bool:
    """Tell `1234` and its like: a palette counts up just so."""
    steps = {ord(after) - ord(before) for before, after in pairwise(literal)}
    return len(steps) <= 1


def _compile_raw(literals: Iterable[str]) -> re.Pattern[bytes] | None:
    """Match a literal in any encoding bytes may hold it in; short ones would match by chance."""
    found = set()
    for literal in literals:
        if literal.upper() in COMMON or _is_ramp(literal):
            continue
        for encoding in ("utf-8", "gb18030", "utf-16-le", "utf-16-be"):
            raw = literal.encode(encoding, "ignore")
            # Two characters are four bytes; in UTF-16 those may be four ASCII letters.
            chinese = CJK.search(literal) and not encoding.startswith("utf-16")
            if len(raw) >= (SHORTEST_ID if chinese else SUBSTRING_WORD):
                found.add(re.escape(raw))
    if not found:
        return None
    in_order = sorted(found, reverse=True)
    return re.compile(b"|".join(in_order), re.IGNORECASE)
