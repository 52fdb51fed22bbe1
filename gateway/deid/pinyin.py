"""Chinese names in Latin letters and back: what a header says in one script is sought in the other.

`pinyin.csv` says which characters are read as each syllable, from the tables of pypinyin (MIT). To
make it again, with pypinyin installed: `python -m gateway.deid.pinyin`.
"""

import json
import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from importlib import resources
from importlib.util import find_spec
from itertools import product
from pathlib import Path

# The commonest first; then those of two characters.
SURNAMES = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭"
    "陆汪范金石廖贾夏韦付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤常温康施文牛樊葛邢安齐易"
    "乔伍庞颜倪庄聂章鲁岳翟殷詹申欧耿关兰焦俞左柳甘祝包宁尚符舒阮柯纪梅童凌毕单季裴霍涂成苗谷盛曲翁冉骆蓝路游辛靳欧"
    "管柴蒙鲍华喻祁蒲房滕屈饶解牟艾尤阳时穆农司卓古吉缪简车项连芦麦褚娄窦戚岑景党宫费卜冷晏席卫米柏宗瞿桂全佟应臧闵"
    "苟邬边卞姬师和仇栾隋商刁沙荣巫寇桑郎甄丛仲虞敖巩明佘池查麻苑迟邝官封谈匡鞠惠荆乐冀郁胥南班储原栗燕楚鄢劳谌奚皮"
    "粟冼蔺楼盘满闻位厉伊仝区郜海阚花权强帅屠豆朴盖练廉禹井祖漆巴丰支卿国狄平计索宣晋相初门云容敬来扈晁芮都普阙浦戈"
    "伏鹿薄邸雍辜羊阿乌母裘亓修邰赫杭况那宿鲜印逯隆茹诺战慕危玉银亢嵇公哈湛宾戎勾茅利於呼居揭干但尉冶斯元束檀衣信展阴"
    "昝智幸奉植衡富尧闭由"
)
DOUBLE = (
    "欧阳 太史 端木 上官 司马 东方 独孤 南宫 万俟 闻人 夏侯 诸葛 尉迟 公羊 "
    "赫连 澹台 皇甫 宗政 濮阳 公冶 太叔 申屠 公孙 慕容 仲孙 钟离 长孙 宇文 "
    "司徒 鲜于 司空 令狐 拓跋 呼延 轩辕 百里 东郭 南门 西门 第五 梁丘 "
)
HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
COMMON_LAST = 0x9FA5  # of Unicode's first set; what is beyond has no simple readings here
LONGEST_NAME = 4
VOWEL = re.compile("[aeiouv]")
# What stands for ü where it is not on the keyboard, and for a letter with a tone on it.
UMLAUT = "(?:[vüǖǘǚǜ]|yu|u[e:]?)"
ACCENTED = {
    "a": "aàáâãäåāăąǎ", "e": "eèéêëēĕėęěẽ", "i": "iìíîïĩīĭįǐ", "o": "oòóôõöøōŏőǒ",
    "u": "uùúûüũūŭůűųǔǖǘǚǜ", "n": "nñńňǹ", "c": "cçćč", "s": "sśşš", "z": "zźżž", "y": "yýÿ",
    "l": "lł", "g": "gğ", "d": "dđð", "r": "rř",
}  # fmt: skip
PLAIN = {accented: plain for plain, all_ in ACCENTED.items() for accented in all_}
INSIDE = r"[\s_.'’·\-]*"  # between syllables of one name
BETWEEN = r"[\s,;:^_.=\-·・]*"
SPLIT_MOST = 8


@cache
def _table() -> tuple[tuple[str, str], ...]:
    """Return (syllable, characters): searched as text, for it is a tenth of a dictionary's size."""
    lines = (resources.files("gateway.deid") / "pinyin.csv").read_text("utf-8").splitlines()
    pairs = (line.partition(",") for line in lines if not line.startswith("#"))
    return tuple(
        (syllable, characters) for syllable, _, characters in pairs if VOWEL.search(syllable)
    )


@cache
def _characters(syllable: str) -> str:
    """Return the characters in use (GB 2312) read so."""
    found = dict(_table()).get(syllable, "")
    return "".join(c for c in found if len(c.encode("gb2312", "ignore")) == 2)  # noqa: PLR2004


@lru_cache(maxsize=4096)
def readings(character: str) -> tuple[str, ...]:
    """Return the syllables a character may be read as, without tones, `v` for ü."""
    return tuple(syllable for syllable, characters in _table() if character in characters)


def spelt(words: Sequence[str]) -> Iterator[str]:
    """Yield patterns of a Chinese name in Latin letters: any order, tones, spaces and initials."""
    parts = _surname_and_given("".join(words), words)
    if parts is None:
        return
    family, given = (tuple(map(_syllable, part)) for part in parts)
    if not all((*family, *given)):
        return
    surname, first = INSIDE.join(family), INSIDE.join(given)
    initials = r"[\s.]*".join("(?:" + "|".join(_initials(c)) + ")" for c in parts[1])
    yield _whole(surname + BETWEEN + first)
    yield _whole(first + BETWEEN + surname)
    yield _alone(rf"{surname}[\s,_^]+{initials}\.?")
    yield _alone(rf"{initials}[\s.,_^]+{surname}")
    if len(given) > 1:
        yield _alone(first)


def turned(name: str) -> Iterator[str]:
    """Yield a pattern of a Chinese name given name first."""
    parts = _surname_and_given(name, [name])
    if parts is not None:
        yield BETWEEN.join(parts[1] + parts[0])


def given(name: str) -> Iterator[str]:
    """Yield the given name where it has two characters: one is in every other word."""
    parts = _surname_and_given(name, [name])
    if parts is not None and len(parts[1]) > 1:
        yield parts[1]


def with_initials(words: Sequence[str]) -> Iterator[str]:
    """Yield patterns of a name in Latin letters of which one part is only begun: `Ge YF`."""
    if len(words) != 2 or not all(word.isascii() and word.isalpha() for word in words):  # noqa: PLR2004
        return
    for kept, begun in (words, words[::-1]):
        if len(kept) > 1 and len(begun) > 1:
            syllables = next(iter(_split(begun.lower())[::-1]), (begun,))
            initials = r"[\s.]*".join(syllable[0] for syllable in syllables)
            yield _alone(rf"{kept}[\s,_^]+(?:{initials}|{begun[0]})\.?")
            yield _alone(rf"(?:{initials}|{begun[0]})\.?[\s,_^]*{kept}")


def plainly(words: Sequence[str]) -> Iterator[str]:
    """Yield such a name in plain letters, as it may stand in bytes."""
    parts = _surname_and_given("".join(words), words)
    if parts is None:
        return
    for syllables in list(product(*map(readings, parts[0] + parts[1])))[:SPLIT_MOST]:
        family, given = syllables[: len(parts[0])], syllables[len(parts[0]) :]
        for pair in (("".join(family), "".join(given)), ("".join(given), "".join(family))):
            yield from (between.join(pair) for between in ("", " ", "^", "_"))


def written(words: Sequence[str]) -> Iterator[str]:
    """Yield patterns of a name in pinyin as Chinese characters: a surname, and what sounds so."""
    syllables = [_split(word.lower()) for word in words]
    if len(words) > 1 and all(syllables):
        for family, *given in (syllables, syllables[::-1]):
            for surname in family:
                for first in product(*given):
                    yield from _characters_of(surname, sum(first, ()))
    elif len(words) == 1:
        for whole in syllables[0]:
            yield from (_ for cut in (1, 2) for _ in _characters_of(whole[:cut], whole[cut:]))


def _characters_of(surname: tuple[str, ...], given: tuple[str, ...]) -> Iterator[str]:
    if not 1 <= len(given) <= 2 or len(surname) > 2:  # noqa: PLR2004 - as names are
        return
    first = BETWEEN.join(f"[{chars}]" for syllable in given if (chars := _characters(syllable)))
    if not all(map(_characters, given)):
        return
    if len(surname) == 1:
        family = "".join(c for c in _characters(surname[0]) if c in SURNAMES)
        if not family:
            return
        family = f"[{family}]"
    else:
        doubles = [d for d in DOUBLE.split() if all(map(_reads, d, surname))]
        if not doubles:
            return
        family = f"(?:{'|'.join(map(BETWEEN.join, doubles))})"
    # A name of two characters may be half a word of medicine: it counts standing by itself.
    alone = len(surname) + len(given) == 2  # noqa: PLR2004
    for name in (f"{family}{BETWEEN}{first}", f"{first}{BETWEEN}{family}"):
        yield rf"(?<!{HAN.pattern}){name}(?!{HAN.pattern})" if alone else name


def _reads(character: str, syllable: str) -> bool:
    return syllable in readings(character)


@lru_cache(maxsize=1024)
def _split(word: str) -> list[tuple[str, ...]]:
    """Return the ways to read a word as one to three syllables; none where it is not pinyin."""
    flat = "".join(PLAIN.get(c, c) for c in word.replace("ü", "v").replace("lyu", "lv"))
    known = {syllable for syllable, _ in _table()}
    found: list[tuple[str, ...]] = [(flat,)] if flat in known else []
    cuts = range(1, len(flat))
    found += [(flat[:a], flat[a:]) for a in cuts if flat[:a] in known and flat[a:] in known]
    found += [
        (flat[:a], flat[a:b], flat[b:])
        for a in cuts
        for b in range(a + 1, len(flat))
        if flat[:a] in known and flat[a:b] in known and flat[b:] in known
    ]
    return found[:SPLIT_MOST]


def _surname_and_given(name: str, words: Sequence[str]) -> tuple[str, str] | None:
    if not 2 <= len(name) <= LONGEST_NAME or not all(map(HAN.fullmatch, name)):  # noqa: PLR2004
        return None
    if len(words) == 2:  # noqa: PLR2004
        return words[0], words[1]
    cut = 2 if name[:2] in DOUBLE.split() and len(name) > 2 else 1  # noqa: PLR2004
    return name[:cut], name[cut:]


def _syllable(character: str) -> str:
    """Return a pattern of what a character may be read as, with or without its tone."""
    found = readings(character)
    return f"(?:{'|'.join(map(toned, found))})[1-5]?" if found else ""


def _initials(character: str) -> set[str]:
    return {reading[0] for reading in readings(character)}


def toned(syllable: str) -> str:
    """Return a pattern of letters whatever marks they carry."""
    return "".join(UMLAUT if c == "v" else _letter(c) if c in "aeiou" else c for c in syllable)


def _letter(character: str) -> str:
    plain = PLAIN.get(character.lower())
    if plain is None:
        return r"['’`´\s]?" if character in "'’`´" else re.escape(character)
    marked = "e?" if character.lower() in "äöü" else ""  # Müller, Mueller
    return f"[{ACCENTED[plain]}]{marked}"


def any_accent(word: str) -> str:
    """Return a pattern of a word of a name, whatever marks its letters carry."""
    flat = word.lower()
    if ("lv" in flat or "nv" in flat) and _split(
        flat
    ):  # ü as it is typed: Lü, Lyu and Lu are meant
        return toned(flat)
    return "".join(map(_letter, word))


def _whole(pattern: str) -> str:
    """Let digits follow a whole name: `zhangwei69@`."""
    return f"(?<![A-Za-z]){pattern}(?![A-Za-z])"


def _alone(pattern: str) -> str:
    return f"(?<![A-Za-z]){pattern}(?![A-Za-z0-9])"


def _lines(source: Path) -> Iterator[str]:
    """Turn character -> toned readings into syllable -> characters."""
    found: dict[str, list[str]] = {}
    for code, toned_readings in json.loads(source.read_text("utf-8")).items():
        if not 0x3400 <= int(code) <= COMMON_LAST:  # noqa: PLR2004 - CJK
            continue
        for reading in toned_readings.split(","):
            flat = unicodedata.normalize("NFD", reading.replace("ê", "e"))
            flat = flat.replace("u\u0308", "v").replace("ü", "v")
            syllable = "".join(c for c in flat if c.isascii() and c.isalpha())
            if syllable and chr(int(code)) not in found.setdefault(syllable, []):
                found[syllable].append(chr(int(code)))
    yield "# Which characters are read as each syllable, without tones: from pypinyin (MIT)"
    yield from (f"{syllable},{''.join(sorted(chars))}" for syllable, chars in sorted(found.items()))


def _main() -> None:
    spec = find_spec("pypinyin")
    if spec is None or spec.origin is None:
        sys.exit("install pypinyin first: pip install pypinyin")
    source = Path(spec.origin).parent / "pinyin_dict.json"
    Path(__file__).with_name("pinyin.csv").write_text("\n".join(_lines(source)) + "\n", "utf-8")


if __name__ == "__main__":
    _main()
