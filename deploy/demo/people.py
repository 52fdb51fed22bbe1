"""Invented patients and all that names them: distinctive, so that a trace is no accident."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

# Compound surnames and two given characters: four ideographs, 8 bytes in GB18030, 12 in UTF-8.
SURNAMES = {
    "欧阳": "Ouyang", "司马": "Sima", "诸葛": "Zhuge", "上官": "Shangguan", "慕容": "Murong",
    "令狐": "Linghu", "皇甫": "Huangfu", "尉迟": "Yuchi", "端木": "Duanmu", "公孙": "Gongsun",
}  # fmt: skip
GIVEN = {
    "晓": "xiao", "明": "ming", "丽": "li", "华": "hua", "建": "jian", "国": "guo", "雪": "xue",
    "梅": "mei", "志": "zhi", "强": "qiang", "春": "chun", "燕": "yan", "海": "hai", "波": "bo",
}  # fmt: skip
STREETS = ("解放路", "中山东路", "人民南路", "建设大道", "长江北路")
SYLLABLES = (
    "bran", "dor", "fel", "gwin", "hal", "kor", "lun", "mer",
    "nor", "pel", "quil", "ros", "sten", "tor", "vex", "wyn",
)  # fmt: skip
CHECKSUM_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)  # GB 11643-1999


@dataclass(frozen=True, slots=True)
class Person:
    """One invented patient, and the people and places that lead to them."""

    name: str  # alphabetic component group (PS3.5 6.2.1.2)
    name_han: str  # ideographic component group, as written without the separator
    pinyin: str
    patient_id: str
    birth_date: str
    national_id: str
    phone: str
    address: str
    address_han: str
    email: str
    accession: str
    physician: str
    physician_han: str
    institution: str
    institution_han: str

    def traces(self) -> Iterator[str]:
        """Yield every text that must not be found anywhere.

        Not the birth date: another patient's shifted date may be the same eight digits.
        """
        for name in (self.name, self.physician):
            family, given = name.split("^")
            yield name
            yield f"{family} {given}"
            yield f"{given} {family}"
            yield family
        for han in (self.name_han, self.physician_han):
            yield han
            yield f"{han[:2]}^{han[2:]}"
        yield from (self.pinyin, self.patient_id)
        yield from (self.national_id, self.phone, self.address, self.address_han)
        yield from (self.email, self.accession, self.institution, self.institution_han)


def make_person(rng: random.Random) -> Person:
    """Invent one person; two from one generator never share a trace."""
    han, pinyin = _chinese(rng)
    physician_han, _ = _chinese(rng)
    family, given = _latin(rng), _latin(rng)
    born = f"19{rng.randrange(30, 99)}{rng.randrange(1, 13):02d}{rng.randrange(1, 29):02d}"
    serial = f"{rng.randrange(10**8):08d}"
    return Person(
        name=f"{family}^{given}",
        name_han=han,
        pinyin=pinyin,
        patient_id=f"ZY{serial}",
        birth_date=born,
        national_id=_national_id(rng, born),
        phone=f"1{rng.choice('3578')}{rng.randrange(10**9):09d}",
        address=f"{rng.randrange(100, 999)} {_latin(rng)} Road",
        address_han=f"{rng.choice(STREETS)}{rng.randrange(1000, 9999)}号",
        email=f"{family.lower()}{rng.randrange(100, 999)}@example.org",
        accession=f"AC{rng.randrange(10**9):09d}",
        physician=f"{_latin(rng)}^{_latin(rng)}",
        physician_han=physician_han,
        institution=f"{_latin(rng)} Hospital",
        institution_han=f"{_chinese(rng)[0]}纪念医院",
    )


def _chinese(rng: random.Random) -> tuple[str, str]:
    """Return a name in ideographs and in pinyin."""
    surname = rng.choice(list(SURNAMES))
    first, second = rng.choice(list(GIVEN)), rng.choice(list(GIVEN))
    return surname + first + second, f"{SURNAMES[surname]} {GIVEN[first].title()}{GIVEN[second]}"


def _latin(rng: random.Random) -> str:
    return "".join(rng.sample(SYLLABLES, 3)).title()


def _national_id(rng: random.Random, born: str) -> str:
    """Return a resident identity number with a right check digit (GB 11643-1999)."""
    body = f"{rng.choice((110105, 310115, 440305, 420106))}{born}{rng.randrange(1000):03d}"
    rest = sum(int(digit) * weight for digit, weight in zip(body, CHECKSUM_WEIGHTS, strict=True))
    return body + "10X98765432"[rest % 11]
