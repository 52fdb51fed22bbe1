"""Free text with the people taken out and the medicine left in."""

import re
from datetime import date

from gateway.deid import folding, medicine, pinyin
from gateway.deid.names import Known

ID_CARD = re.compile(r"(?<![0-9A-Za-z])(?:\d{17}[0-9Xx]|\d{15})(?![0-9A-Za-z])")
_PROVINCES = """
11 12 13 14 15 21 22 23 31 32 33 34 35 36 37 41 42 43 44 45 46 50 51 52 53 54
61 62 63 64 65 71 81 82
"""
PROVINCES = frozenset(_PROVINCES.split())
OLD_CARD = 15  # digits, until 1999: a year of two, no check digit
ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)  # GB 11643-1999
ID_CHECKS = "10X98765432"
SURNAMES = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭"
    "陆汪范金石廖贾夏韦付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤"
)
MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
MEDICAL = "|".join(sorted(map(str.lower, medicine.WORDS - {"DR", "MR"}), key=len, reverse=True))
START = r"(?<![A-Za-z])"  # `\b` sees none between a letter and a character: 患者Dr. Smith
LABELS = (
    "姓名|患者|病人|病员|(?:申请|报告|审核|检查|诊断|主治|操作|会诊|记录|书写|值班)(?:医生|医师|者|人|员|技师)|技师|医生|医师|"
    "护士|联系人|住院号|门诊号|病历号|病案号|检查号|影像号|"
    "登记号|床号|身份证号?|电话|手机|住址|地址|出生日期|生日|单位|"
    "patient(?:'s)?\\s*name|patient\\s*id|referring(?:\\s*(?:physician|dr))?|operator|performed\\s*by|"
    "reported\\s*by|read\\s*by|dictated\\s*by|signed\\s*by|reviewed\\s*by|technologist|radiologist|"
    "name|pt|mrn|acc(?:ession)?(?:\\s*(?:no|number))?|dob|birth\\s*date|date\\s*of\\s*birth|ssn|"
    "phone|tel|mobile|address"
)
# Each is one kind of thing that points at a person, a place or a day.
TITLED = (
    # `DR` and `MR` are modalities, `MS` a disease: only `Dr`, `DR.` and the like are titles.
    rf"{START}(?:Dr|dr|DR(?=\.)|Doctor|Prof|Professor|Mr|MR(?=\.)|Mrs|MRS(?=\.)|Ms|Miss)\b\.?\s*"
    rf"(?:(?!(?i:{MEDICAL})\b)[A-Z][A-Za-z\u00c0-\u024f'’-]*\.?(?:\s+|$)?){{1,3}}"
)
FAMILY = rf"(?:{'|'.join(pinyin.DOUBLE.split())}|[{SURNAMES}])"
CHINESE_TITLED = (
    rf"{FAMILY}[\u4e00-\u9fff]{{0,2}}"
    r"(?:主任医师|副主任医师|医生|医师|主任|教授|护士|技师|大夫|先生|女士|小姐|同志)"
)
# A stranger, whom nothing else in the instance names: a title or a role, then a surname and one or
# two characters, then what does not go on with a word. Many a surname begins a word of medicine.
NO_NAME = (
    ".氏|徐动|梁状|钟摆|高[热血龄危烧密信温度分]|张[口力开]|石[膏骨化]|金[属标]|白[血内癜斑质细天]|黄[疸染斑体]|于|任[何意务]|周[围岁前后日边]|"
    "陈[述诉旧]|曾|何[时种处杰]|程[度序]|方[向法案位]|范围|毛[玻刺细发]|段|余|万[一古]|严[重格密]|史|马[上尾蹄]|向|唐氏|苏醒|许[可多]|孔[隙洞]|"
    "雷诺|陆续|顾虑|付费|夏季|江|林奇|胡须|罗音|谢绝|韩国|武警|叶[间裂酸]|贾第|龙骨|尹|易|温度|安[静全置]|常[规见]|平[扫卧躺]|"
    "左|右|双|单|查|明[显确]|全|水[肿平]|路|关[节于]|宫|包[括块]|车祸|时|和|成[人像年]|应|经|解[剖除]|房[颤间]|终|空[洞腹]|连[续接]|"
    "米|麻[醉木]|费用|都|管|祝|甘|危[重急]|闵|阴[性道影]|阳性|前|后|上|下|内|外|已|未|有|无|需|因|可|在|不|能|要|请"
)
NAME = (
    rf"(?!{NO_NAME}){FAMILY}[\u4e00-\u9fff]{{1,2}}?"
    r"(?=[^\u4e00-\u9fff]|$|男|女|因|主诉|诉|既往|报告|审核|医师|医生|主任|教授)"
)
ROLE = (
    "患者|病人|病员|(?:报告|审核|申请|检查|诊断|主治|操作|会诊|记录|书写|值班|麻醉)(?:医师|医生|者|人|员|技师|护士)|"
    "医师|医生|技师|主任|教授|大夫|护士|护师|姓名|联系人|家属|监护人"
)
SIGNED = "报告|审核|复核|审阅|阅片|录入|签发|签名|签字|记录|书写"  # with a colon: 审核：李国强
APART = r"[\s,，/、（(]*"
STRANGER = (
    rf"(?:(?:{ROLE})|{START}(?:Dr|Prof)\b\.?)\s*{NAME}"
    rf"|(?:{SIGNED})\s*[:：]\s*{NAME}"
    rf"|(?<![\u4e00-\u9fff]){NAME}(?={APART}(?:男|女)性?{APART}\d{{1,3}}\s*岁)"
    rf"|(?<![\u4e00-\u9fff]){NAME}(?={APART}\d{{1,3}}\s*岁{APART}(?:男|女))"
    rf"|(?<=[男女]){APART}{NAME}(?={APART}\d{{1,3}}\s*岁)"
)
CLINIC = (
    rf"(?:{START}[A-Z][\w.'’-]*\s+){{1,5}}(?:Hospital|HOSPITAL|Clinic|CLINIC|Infirmary|INFIRMARY|"
    r"(?:Medical|MEDICAL|Imaging|IMAGING)\s+(?:Cent(?:er|re)|CENT(?:ER|RE)))\b"
)
DOOR = r"(?:\d+(?:号|室|栋|楼|层|单元|弄|幢)[\d号室栋楼层单元弄幢院座-]*)"  # 心室 is no address
ADDRESS = (
    r"[\u4e00-\u9fff]{1,10}(?:省|自治区|市|县|镇|乡)"
    rf"[\u4e00-\u9fff0-9]{{0,20}}?(?:(?:路|街|巷|村|道)\s*{DOOR}?|{DOOR})"
    rf"|[\u4e00-\u9fff]{{1,8}}?(?:路|街|巷|大道|村)\s*{DOOR}"
)
DEPARTMENT = (
    "(?:(?:心血管|心脏|心胸|胸|神经|消化|呼吸|内分泌|肾|血液|风湿|普|肝胆|胃肠|泌尿|骨|脊柱|关节|创伤|烧伤|整形|乳腺|甲状腺|"
    "血管|老年|肿瘤|感染|介入|急诊|康复|疼痛|重症医学|放射|影像|医学影像|超声|核医学|检验|病理|麻醉|妇产|妇|产|儿|眼|口腔|耳鼻喉|"
    "皮肤|中医|体检|急诊影像)(?:内|外)?科[一二三四五六七八九十]{0,3}(?:病区|病房|门诊|室|组)?)"
)
STREET = (
    r"(?<!\d)\d{1,5}\s+(?:[A-Z][\w'’-]*\s+){1,3}"
    r"(?:St|Street|Ave|Avenue|Road|Rd|Blvd|Lane|Ln|Drive|Dr)\b\.?"
)
# A labelled value: a word, and those after it until one is of medicine.
LABELLED = (
    rf"(?<![A-Za-z])(?i:{LABELS})\s*[:：=#]\s*[^\s,;，；。\\]*"
    rf"(?:[ \t]+(?!(?i:{MEDICAL})\b)(?!{medicine.PHRASES})[^\s,;，；。\\]+){{0,5}}"
)
NUMBERED = (
    r"(?:身份证号?码?|(?:住院|门诊|病历|病案|检查|影像|登记|床)号码?"
    r"|(?:护照|通行证|回乡证|军官证|驾驶证|医保卡?|社保卡?|就诊卡|诊疗卡|健康卡)号?码?)"
    r"\s*[A-Za-z]{0,4}[\d-]{2,}[Xx]?"
)
CHAT = r"(?:微信|(?<![A-Za-z])QQ)号?码?\s*[:：]?\s*[A-Za-z\d][\w-]{4,}"
# Of cards and cars that are not the mainland's, or carry letters.
LETTERED = (
    r"(?<![A-Za-z\d])(?:[A-Z]{1,2}\d{6}\s?[(（][\dA][)）]|[A-Z][12]\d{8}(?!\d))"
    r"|[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼][A-HJ-NP-Z][·•\s]?"
    r"(?=[A-Z\d]*\d)[A-Z\d]{5,6}(?![A-Za-z\d])"
)
RECORD = (
    rf"{START}(?i:mrn|patient\s*id|acc(?:ession)?(?:\s*(?:no|number))?)[.\s#]*"
    r"[A-Za-z]{0,3}\d{5,}"
)
# An age over 89 tells who it is, in words as in PatientAge.
OLD = r"(?<![\d.])(?<!\d[-~～至到])(?:9\d|1[0-2]\d)"  # `60-95岁` is of a study
AGED = (
    rf"{OLD}\s*(?:周岁|岁)(?!以[上下])"
    r"|(?:九十[一二三四五六七八九]?|一?百[零〇一二三四五六七八九十]{0,3})(?:周岁|岁)"
    rf"|{OLD}[-\s]*(?i:(?:years?|yrs?|y)[-\s./]*(?:old|o)|yo)(?![A-Za-z])"
    rf"|(?:年龄|{START}(?i:aged?))\s*[:：=]?\s*{OLD}(?![\d.]|\s*(?:[dwm天周月]|min))"
    r"|(?<![A-Za-z\d])(?:09\d|1[0-2]\d)Y(?![A-Za-z])"
)
WEB = (
    r"(?:https?|ftp|file)://[^\s\u3000-\u9fff，；。]+|(?<![A-Za-z0-9])www\.[^\s\u3000-\u9fff，；。]+"
    r"|\\\\[\w.-]+\\\S+"  # a network share
)
MOBILE = r"(?:\+?86[-\s]?)?(?<!\d)1[3-9]\d[-\s]?\d{4}[-\s]?\d{4}(?!\d)"
LANDLINE = r"(?<![\d.])\(?0\d{2,3}\)?[-\s]?\d{7,8}(?![\d.])"
HOSPITAL = r"[\u4e00-\u9fff]{2,12}?(?:医院|卫生院|卫生所|诊所|保健院|疗养院|体检中心)"
MAIL = (  # also one that was cut
    r"[A-Za-z0-9_\u00c0-\u024f.+-]{1,64}@(?:[A-Za-z0-9-]{1,64}(?:\.[A-Za-z0-9-]{1,64}){1,8}"
    r"|[A-Za-z][A-Za-z0-9-]{3,64})"
)
PATTERNS = (
    MAIL,
    WEB,
    r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])",  # IP address
    r"(?<![\d.])[0-2](?:\.\d+){5,}",  # UID
    LABELLED,
    NUMBERED,
    CHAT,
    LETTERED,
    RECORD,
    AGED,
    r"(?<![A-Za-z])(?i:phone|tel|mobile|电话|手机)\.?\s*\d(?:[\s-]?\d){5,}",  # without a colon
    CHINESE_TITLED,
    STRANGER,
    TITLED,
    HOSPITAL,
    DEPARTMENT,
    CLINIC,
    ADDRESS,
    STREET,
    r"(?<!\d)(?:19|20)\d{2}\s*[-/.年]\s*\d{1,2}\s*[-/.月]\s*\d{1,2}\s*日?(?!\d)",  # dates
    r"(?<!\d)(?:19|20)\d{2}年\d{1,2}月",
    r"(?<!\d)\d{1,2}[-/.]\d{1,2}[-/.](?:19|20)\d{2}(?!\d)",
    r"(?<!\d)\d{1,2}/\d{1,2}/\d{2}(?!\d)",
    r"(?<!\d)\d{1,2}月\d{1,2}日",
    r"[〇零○一二三四五六七八九]{2,4}年[一二三四五六七八九十]{1,3}月(?:[一二三四五六七八九十]{1,3}[日号])?",
    r"民国\s*\d{1,3}\s*年(?:\s*\d{1,2}\s*月(?:\s*\d{1,2}\s*日)?)?",
    r"(?:出生于?|生于)\s*[:：]?\s*(?:19|20)\d{2}(?![\d.克A-Za-z])年?",
    rf"(?<!\d)\d{{1,2}}(?:st|nd|rd|th)?[-\s.]*(?i:{MONTHS})[a-z]*[-\s.,]*(?:19|20)?\d{{2}}(?!\d)",
    rf"{START}(?i:{MONTHS})[a-z]*[-\s.]*\d{{1,2}}(?:st|nd|rd|th)?[,\s]+(?:19|20)\d{{2}}(?!\d)",
    r"(?<![\d.])(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:[\sT_]?\d{4,6})?(?!\d)",
    MOBILE,
    LANDLINE,
    r"(?<![\d.])(?:\+?1[-.\s])?\(?[2-9]\d{2}\)?[-.\s]\d{3}[-.\s]\d{4}(?![\d.])",
    r"\+\d{1,3}(?:[-\s]?\d{2,4}){3,4}",
    r"(?<![\d.])\d{3}-\d{2}-\d{4}(?!\d)",  # SSN
    r"(?<![\d.])\d{9,}(?![\d.])",  # a number no measurement needs
)
POINTING = re.compile("|".join(f"(?:{pattern})" for pattern in PATTERNS))
LONG_NUMBER = re.compile(r"\d{9,}")
CARET = re.compile(r"[^\s^=\\]{0,64}\^[^\s\\]{0,128}")  # a PN as DICOM writes it; or `Head^Routine`
# What in a code or a version can only be a person, an address or a telephone.
IN_CODES = (
    MAIL, WEB, NUMBERED, TITLED, CHINESE_TITLED, HOSPITAL, ADDRESS, STREET, MOBILE, LANDLINE,
)  # fmt: skip
NAMING = re.compile("|".join(f"(?:{one})" for one in IN_CODES))
ROUND = re.compile(r"[1-9]\d{0,6}0{4,}")
EMPTY = re.compile(r"[\s,;:，；：。.()\[\]（）/\\_=#-]*")


def clean(text: str, people: Known) -> str:
    """Take out what this instance says elsewhere about people, then whatever points at one."""
    read = folding.seen(text)
    cleaned = folding.cut(CARET, _of_people(read, people, " "), "", medicine.is_medicine)
    cleaned = folding.cut(POINTING, cleaned, " ")
    if cleaned == read:
        return text
    tidy = "\n".join(re.sub(r"[^\S\n]+", " ", line).strip() for line in cleaned.split("\n"))
    return "" if EMPTY.fullmatch(tidy) else tidy


def clean_kept(text: str, people: Known) -> str:
    """Take out only who is known: a serial number, a hospital's name are kept on purpose."""
    read = folding.seen(text)
    cleaned = _of_people(read, people, " ")
    return text if cleaned == read else " ".join(cleaned.split())


def clean_code(text: str, people: Known) -> str:
    """Take out of a code or a version only what is known to identify: its digits have a meaning."""
    read = folding.seen(text)
    cleaned = folding.cut(CARET, _of_people(read, people, ""), "", medicine.is_medicine)
    cleaned = folding.cut(NAMING, cleaned, "")
    return (text if cleaned == read else cleaned).strip()


def _of_people(text: str, people: Known, left: str) -> str:
    """Take out who is known, and identity cards."""
    known = folding.cut(people.text, text, left) if people.text is not None else text
    return folding.cut(ID_CARD, known, left, lambda found: not is_id_card(found))


def clean_version(text: str, people: Known) -> str:
    """Clean a version as a code, and of numbers too long to be one."""
    return LONG_NUMBER.sub("", clean_code(text, people)).strip()


def is_somebodys(number: str) -> bool:
    """Tell an identity card's or a telephone's number from one that was measured."""
    if number.startswith("0"):
        return re.fullmatch(LANDLINE, number) is not None
    telephone = re.fullmatch(MOBILE, number) is not None and not ROUND.fullmatch(number)
    return telephone or (ID_CARD.fullmatch(number) is not None and is_id_card(number))


def is_id_card(number: str) -> bool:
    """Check a Chinese resident identity number by its check digit and birth date (GB 11643)."""
    if len(number) == OLD_CARD:
        number = f"{number[:6]}19{number[6:]}"
        return number[:2] in PROVINCES and _is_day(number)
    total = sum(weight * int(digit) for weight, digit in zip(ID_WEIGHTS, number, strict=False))
    if ID_CHECKS[total % 11] != number[17].upper():
        return False
    return _is_day(number)


def _is_day(card: str) -> bool:
    try:
        date(int(card[6:10]), int(card[10:12]), int(card[12:14]))
    except ValueError:
        return False
    return True
