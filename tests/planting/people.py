"""Invented people of invented hospitals, and every way their names and numbers get written."""

import random
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field

# Toned pinyin, from any dictionary; surnames with their reading as surnames.
SURNAMES = {
    "王": "wáng",
    "张": "zhāng",
    "刘": "liú",
    "陈": "chén",
    "赵": "zhào",
    "周": "zhōu",
    "孙": "sūn",
    "单": "shàn",
    "曾": "zēng",
    "解": "xiè",
    "仇": "qiú",
    "查": "zhā",
    "区": "ōu",
    "朴": "piáo",
    "吕": "lǚ",
    "覃": "qín",
    "翟": "zhái",
    "欧阳": "ōu yáng",
    "尉迟": "yù chí",
    "司马": "sī mǎ",
    "诸葛": "zhū gě",
    "上官": "shàng guān",
    "薛": "xuē",
    "任": "rén",
    "盖": "gě",
    "乐": "yuè",
}
GIVEN = {
    "伟": "wěi",
    "芳": "fāng",
    "娜": "nà",
    "敏": "mǐn",
    "静": "jìng",
    "强": "qiáng",
    "磊": "lěi",
    "晓明": "xiǎo míng",
    "建国": "jiàn guó",
    "淑珍": "shū zhēn",
    "国栋": "guó dòng",
    "雪梅": "xuě méi",
    "志远": "zhì yuǎn",
    "雨桐": "yǔ tóng",
    "绿绮": "lǜ qǐ",
    "重阳": "chóng yáng",
    "子涵": "zǐ hán",
    "长乐": "cháng lè",
    "思源": "sī yuán",
    "红霞": "hóng xiá",
    "行健": "xíng jiàn",
    "昱菲": "yù fēi",
}
WESTERN = (
    ("Featherstone", "Quentin"),
    ("Abernathy", "Clotilde"),
    ("O'Callaghan", "Siobhan"),
    ("Vandersteen", "Joris"),
    ("Müllerschön", "Jürgen"),
    ("Castañeda", "Ximena"),
    ("Kowalczyk", "Zbigniew"),
    ("Thistlewood", "Barnaby"),
    ("Lindqvist", "Annelie"),
    ("Okonkwo", "Chidinma"),
)
CITIES = ("杭州", "成都", "青岛", "长沙", "沈阳", "苏州", "洛阳", "兰州")
HOSPITALS = ("第三人民医院", "中医院", "妇幼保健院", "肿瘤医院", "附属第二医院")
WARDS = ("心胸外科", "肝胆外科二病区", "神经内科", "急诊影像科")
WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
SEPARATORS = re.compile(r"[\s_^=,.;:·・'’\-]+")


@dataclass(frozen=True)
class Secret:
    """Something that must not be left: `folded` is what is looked for in folded text."""

    kind: str
    folded: str
    whole: bool = False  # short: counts only between what is no letter or digit


@dataclass(frozen=True)
class Mention:
    """One spelling as a clerk, a device or a programme writes it."""

    kind: str
    text: str
    known: bool = True  # the header says it somewhere; else it must be known by its form


@dataclass
class Patient:
    chinese: str = ""
    surname: str = ""
    given: str = ""
    toned: tuple[str, str] = ("", "")
    western: tuple[str, str] = ("", "")
    pn: str = ""
    doctor: str = ""
    doctor_words: tuple[str, ...] = ()
    number: str = ""
    accession: str = ""
    card: str = ""
    old_card: str = ""
    mobile: str = ""
    landline: str = ""
    mail: str = ""
    url: str = ""
    address: str = ""
    hospital: str = ""
    ward: str = ""
    birth: tuple[int, int, int] = (1950, 1, 1)
    root: str = ""
    secrets: list[Secret] = field(default_factory=list)


def invent(dice: random.Random) -> Patient:
    """Invent a patient, whose header names them in one of the ways headers do."""
    person = Patient()
    year, month, day = dice.randint(1931, 2012), dice.randint(1, 12), dice.randint(1, 28)
    person.birth = (year, month, day)
    person.number = dice.choice(
        [
            f"P{dice.randrange(10**8):08d}",
            f"{dice.randrange(10**9, 10**10)}",
            f"ZY{dice.randrange(10**7):07d}",
            f"{dice.randrange(10**5, 10**6)}",
            f"HX-{dice.randrange(10**6):06d}",
        ]
    )
    person.accession = dice.choice(["", "CT", "DR", "A"]) + f"{dice.randrange(10**8, 10**9)}"
    area = dice.choice(["110105", "330106", "510104", "370202"])
    person.card = _card(f"{area}{year}{month:02d}{day:02d}{dice.randrange(1000):03d}")
    person.old_card = f"{area}{year % 100:02d}{month:02d}{day:02d}{dice.randrange(1000):03d}"
    person.mobile = f"1{dice.choice('35789')}{dice.randrange(10**9):09d}"
    person.landline = f"0{dice.randint(311, 939)}-{dice.randrange(2 * 10**6, 8 * 10**6) + 10**7}"
    city = dice.choice(CITIES)
    person.hospital = city + "市" * dice.randrange(2) + dice.choice(HOSPITALS)
    person.ward = dice.choice(WARDS)
    district, road = (
        dice.choice(["西湖", "锦江", "市北", "雨花"]),
        dice.choice(["文三", "解放", "学院"]),
    )
    person.address = f"{city}市{district}区{road}路{dice.randint(2, 400)}号"
    person.root = f"1.2.840.{dice.randint(113700, 199999)}.{dice.randrange(10**6)}"
    if dice.random() < 0.75:
        _chinese(person, dice)
    else:
        _western(person, dice)
    doctor = dice.choice([w for w in WESTERN if w != person.western])
    person.doctor, person.doctor_words = "^".join(doctor), doctor
    name = fold(person.western[0] or "".join(person.toned))
    person.mail = f"{name}{dice.randrange(99)}@hospital{dice.randrange(99)}.cn"
    person.url = f"http://pacs{dice.randrange(99)}.local/viewer?id={person.number}"
    person.secrets = list(_secrets(person))
    return person


def _chinese(person: Patient, dice: random.Random) -> None:
    person.surname, surname = dice.choice(list(SURNAMES.items()))
    person.given, given = dice.choice(list(GIVEN.items()))
    person.chinese, person.toned = person.surname + person.given, (surname, given)
    family, first = plain(surname).replace(" ", ""), plain(given).replace(" ", "")
    latin = f"{family.capitalize()}^{first.capitalize()}"
    person.pn = dice.choice(
        [
            f"{latin}={person.surname}^{person.given}",
            f"{latin}={person.chinese}",
            person.chinese,
            f"{person.surname}^{person.given}",
            f"={person.surname}^{person.given}=",
            latin.upper(),
            latin.replace("^", " "),
        ]
    )


def _western(person: Patient, dice: random.Random) -> None:
    person.western = dice.choice(WESTERN)
    person.pn = dice.choice(["^", "^", ", "]).join(person.western)


def plain(toned: str) -> str:
    """Write pinyin without tones; ü as most systems do."""
    return "".join(
        c
        for c in unicodedata.normalize(
            "NFD", toned.replace("ü", "v").replace("ǜ", "v").replace("ǚ", "v")
        )
        if not unicodedata.combining(c)
    )


def numbered(toned: str) -> str:
    """Write tones as numbers: `zhang1 wei3`."""
    marks = {"\u0304": "1", "\u0301": "2", "\u030c": "3", "\u0300": "4"}
    words = []
    for word in toned.split():
        parts = unicodedata.normalize("NFD", word)
        tone = next((marks[c] for c in parts if c in marks), "")
        words.append(plain(word) + tone)
    return " ".join(words)


def fold(text: str) -> str:
    """Set aside width, case, tones and separators."""
    flat = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text))
    return SEPARATORS.sub("", "".join(c for c in flat if not unicodedata.combining(c)).casefold())


def _card(first: str) -> str:
    total = sum(w * int(d) for w, d in zip(WEIGHTS, first, strict=True))
    return first + "10X98765432"[total % 11]


def _secrets(person: Patient) -> Iterator[Secret]:
    if person.chinese:
        yield Secret("chinese name", person.chinese)
        yield Secret("chinese name", person.given + person.surname)
        family, first = (fold(plain(part)) for part in person.toned)
        yield Secret("pinyin", family + first)
        yield Secret("pinyin", first + family)
        if "v" in family + first:
            yield Secret("pinyin", (family + first).replace("v", "u"))
            yield Secret("pinyin", (family + first).replace("v", "yu"))
        yield Secret("pinyin numbered", fold(numbered(" ".join(person.toned))))
        if person.pn.isascii() or len(person.given) > 1:
            yield Secret("given name", first, whole=True)
    for word in filter(None, (*person.western, *person.doctor_words)):
        yield Secret("western name", fold(word))
    for kind, text in (
        ("patient id", person.number),
        ("accession", person.accession),
        ("card", person.card),
        ("old card", person.old_card),
        ("phone", person.mobile),
        ("landline", person.landline),
        ("mail", person.mail),
        ("url", person.url),
        ("address", person.address.split("区")[-1]),
        ("hospital", person.hospital),
        ("ward", person.ward),
        ("uid root", person.root),
    ):
        yield Secret(kind, fold(text))
    for written in births(person):
        yield Secret("birth", fold(written), whole=True)


def births(person: Patient) -> list[str]:
    y, m, d = person.birth
    months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    return [
        f"{y}{m:02d}{d:02d}",
        f"{y}-{m:02d}-{d:02d}",
        f"{y}/{m}/{d}",
        f"{y}年{m}月{d}日",
        f"{d:02d}.{m:02d}.{y}",
        f"{months[m - 1]} {d}, {y}",
        f"{d} {months[m - 1]} {y}",
        f"{m:02d}/{d:02d}/{y}",
    ]


def mentions(person: Patient, dice: random.Random) -> list[Mention]:
    """Return every spelling, shuffled."""
    found = [
        Mention("name", person.pn),
        Mention("name", person.pn.split("=")[0].replace("^", " ").strip() or person.pn),
    ]
    if person.chinese:
        family, first = person.toned
        p, q = plain(family), plain(first)
        joined = [w.replace(" ", "") for w in (p, q)]
        found += [
            Mention("chinese name", t)
            for t in (
                person.chinese,
                f"{person.surname} {person.given}",
                f"{person.surname}^{person.given}",
                " ".join(person.chinese),
                f"{person.given}{person.surname}",
                f"{person.surname}·{person.given}",
            )
        ]
        found += [
            Mention("pinyin", t)
            for t in (
                " ".join(joined).title(),
                "".join(joined),
                "".join(joined).upper(),
                " ".join(joined).upper(),
                f"{joined[1].title()} {joined[0].title()}",
                f"{joined[0].upper()}^{joined[1].upper()}",
                f"{joined[0].title()}, {joined[1].title()}",
                f"{p} {q}",
                f"{joined[0]}_{joined[1]}",
                "".join(w.title() for w in joined),
                f"{joined[0].title()} {'-'.join(q.title().split())}",
                f"{family} {first}",
                f"{family}{first}".replace(" ", ""),
                numbered(f"{family} {first}"),
                f"{joined[0].title()} {''.join(w[0].upper() for w in q.split())}",
            )
        ]
        if "v" in p + q:
            found += [
                Mention("pinyin", " ".join(joined).replace("v", "u")),
                Mention("pinyin", " ".join(joined).replace("v", "yu")),
            ]
    else:
        last, first = person.western
        found += [
            Mention("western name", t)
            for t in (
                f"{last}^{first}",
                f"{first} {last}",
                f"{last}, {first}",
                f"{last.upper()} {first.upper()}",
                f"{first[0]}. {last}",
                last,
                first,
                f"{last}{first}",
                f"{last}_{first}",
            )
        ]
    last, first = person.doctor_words
    found += [
        Mention("doctor", t)
        for t in (person.doctor, f"Dr. {first} {last}", f"{first} {last}", last.upper())
    ]
    found += [
        Mention("patient id", t)
        for t in (person.number, f"id:{person.number}", f"ID {person.number}")
    ]
    found += [Mention("accession", person.accession)]
    found += [Mention("birth", t) for t in births(person)]
    found += [
        Mention(k, t, known=False)
        for k, t in (
            ("card", person.card),
            ("card", f"身份证{person.card}"),
            ("old card", person.old_card),
            ("old card", f"身份证号{person.old_card}"),
            ("phone", person.mobile),
            ("phone", f"{person.mobile[:3]} {person.mobile[3:7]} {person.mobile[7:]}"),
            ("landline", person.landline),
            ("mail", person.mail),
            ("url", person.url),
            ("address", person.address),
            ("hospital", person.hospital),
            ("ward", person.ward),
        )
    ]
    dice.shuffle(found)
    return found
