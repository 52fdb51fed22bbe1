"""Free text with the people taken out and the medicine left in."""

import re
from datetime import date

from gateway.deid.names import Known

ID_CARD = re.compile(r"(?<![0-9A-Za-z])\d{17}[0-9Xx](?![0-9A-Za-z])")
ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)  # GB 11643-1999
ID_CHECKS = "10X98765432"
SURNAMES = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭"
    "陆汪范金石廖贾夏韦付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤"
)
MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
MEDICAL = (
    "head|brain|neck|chest|thorax|abd|abdomen|pelvis|spine|cardiac|heart|liver|lung|knee|hip|hand|foot|"
    "ankle|shoulder|elbow|wrist|breast|angio|axial|sag|cor|with|without|w|wo|routine"
)
LABELS = (
    "姓名|患者|病人|病员|申请医生|报告医生|审核医生|检查医生|操作者|技师|医生|联系人|住院号|门诊号|病历号|病案号|检查号|影像号|"
    "登记号|床号|身份证号?|电话|手机|住址|地址|出生日期|生日|单位|"
    "patient(?:'s)?\\s*name|patient\\s*id|referring(?:\\s*(?:physician|dr))?|operator|performed\\s*by|"
    "reported\\s*by|read\\s*by|dictated\\s*by|signed\\s*by|reviewed\\s*by|technologist|radiologist|"
    "name|pt|mrn|acc(?:ession)?(?:\\s*(?:no|number))?|dob|birth\\s*date|date\\s*of\\s*birth|ssn|"
    "phone|tel|mobile|address"
)
# Each is one kind of thing that points at a person, a place or a day.
TITLED = (
    # `DR` and `MR` are modalities, `MS` a disease: only `Dr`, `DR.` and the like are titles.
    rf"\b(?:Dr|dr|DR(?=\.)|Doctor|Prof|Professor|Mr|MR(?=\.)|Mrs|MRS(?=\.)|Ms|Miss)\b\.?\s*"
    rf"(?:(?!(?i:{MEDICAL})\b)[A-Z][\w'’-]*\.?(?:\s+|$)?){{1,3}}"
)
CHINESE_TITLED = (
    rf"[{SURNAMES}][\u4e00-\u9fff]{{0,2}}"
    r"(?:主任医师|副主任医师|医生|医师|主任|教授|护士|技师|大夫|先生|女士|小姐|同志)"
)
CLINIC = (
    r"(?:\b[A-Z][\w.'’-]*\s+){1,5}(?:Hospital|HOSPITAL|Clinic|CLINIC|Infirmary|INFIRMARY|"
    r"(?:Medical|MEDICAL|Imaging|IMAGING)\s+(?:Cent(?:er|re)|CENT(?:ER|RE)))\b"
)
ADDRESS = (
    r"[\u4e00-\u9fff]{1,10}(?:省|自治区|市|区|县|镇|乡)"
    r"[\u4e00-\u9fff0-9]{0,20}(?:路|街|巷|村|号|室|栋|单元)[0-9号室栋单元]*"
)
STREET = (
    r"\b\d{1,5}\s+(?:[A-Z][\w'’-]*\s+){1,3}"
    r"(?:St|Street|Ave|Avenue|Road|Rd|Blvd|Lane|Ln|Drive|Dr)\b\.?"
)
PATTERNS = (
    r"[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64}){1,8}",  # mail
    r"(?:https?|ftp|file)://\S+|\bwww\.\S+|\\\\[\w.-]+\\\S+",  # web, network share
    r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])",  # IP address
    r"(?<![\d.])[0-2](?:\.\d+){5,}",  # UID
    rf"(?<![A-Za-z])(?i:{LABELS})\s*[:：=#]\s*[^,;，；。\n\r\\]*",  # labelled value
    r"(?<![A-Za-z])(?i:phone|tel|mobile|电话|手机)\.?\s*\d(?:[\s-]?\d){5,}",  # without a colon
    r"[^\s^=\\]{0,64}\^[^\s\\]{0,128}",  # a PN as DICOM writes it
    CHINESE_TITLED,
    TITLED,
    r"[\u4e00-\u9fff]{2,12}?(?:医院|卫生院|卫生所|诊所|保健院|疗养院|体检中心)",
    CLINIC,
    ADDRESS,
    STREET,
    r"(?<!\d)(?:19|20)\d{2}\s*[-/.年]\s*\d{1,2}\s*[-/.月]\s*\d{1,2}\s*日?(?!\d)",  # dates
    r"(?<!\d)(?:19|20)\d{2}年\d{1,2}月",
    r"(?<!\d)\d{1,2}[-/.]\d{1,2}[-/.](?:19|20)\d{2}(?!\d)",
    r"(?<!\d)\d{1,2}/\d{1,2}/\d{2}(?!\d)",
    r"(?<!\d)\d{1,2}月\d{1,2}日",
    rf"(?<!\d)\d{{1,2}}[-\s.]*(?i:{MONTHS})[a-z]*[-\s.,]*(?:19|20)?\d{{2}}(?!\d)",
    rf"\b(?i:{MONTHS})[a-z]*[-\s.]*\d{{1,2}}(?:st|nd|rd|th)?[,\s]+(?:19|20)\d{{2}}(?!\d)",
    r"(?<![\d.])(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:[\sT_]?\d{4,6})?(?!\d)",
    r"(?:\+?86[-\s]?)?(?<!\d)1[3-9]\d[-\s]?\d{4}[-\s]?\d{4}(?!\d)",  # mobile
    r"(?<![\d.])\(?0\d{2,3}\)?[-\s]?\d{7,8}(?![\d.])",  # landline
    r"(?<![\d.])(?:\+?1[-.\s])?\(?[2-9]\d{2}\)?[-.\s]\d{3}[-.\s]\d{4}(?![\d.])",
    r"\+\d{1,3}(?:[-\s]?\d{2,4}){3,4}",
    r"(?<![\d.])\d{3}-\d{2}-\d{4}(?!\d)",  # SSN
    r"(?<![\d.])\d{9,}(?![\d.])",  # a number no measurement needs
)
POINTING = re.compile("|".join(f"(?:{pattern})" for pattern in PATTERNS))
LONG_NUMBER = re.compile(r"\d{9,}")
# What in a code or a version can only be a person or an address.
MAIL, CARET = PATTERNS[0], r"[^\s^=\\]{0,64}\^[^\s\\]{0,128}"
NAMING = re.compile("|".join(f"(?:{one})" for one in (MAIL, CARET, TITLED, CHINESE_TITLED, STREET)))
EMPTY = re.compile(r"[\s,;:，；：。.()\[\]（）/\\_=#-]*")


def clean(text: str, people: Known) -> str:
    """Take out what this instance says elsewhere about people, then whatever points at one."""
    cleaned = people.text.sub(" ", text) if people.text is not None else text
    cleaned = ID_CARD.sub(lambda match: " " if is_id_card(match[0]) else match[0], cleaned)
    cleaned = POINTING.sub(" ", cleaned)
    if cleaned == text:
        return text
    tidy = "\n".join(re.sub(r"[^\S\n]+", " ", line).strip() for line in cleaned.split("\n"))
    return "" if EMPTY.fullmatch(tidy) else tidy


def clean_kept(text: str, people: Known) -> str:
    """Take out only who is known: a serial number, a hospital's name are kept on purpose."""
    cleaned = people.text.sub(" ", text) if people.text is not None else text
    cleaned = ID_CARD.sub(lambda match: " " if is_id_card(match[0]) else match[0], cleaned)
    return text if cleaned == text else " ".join(cleaned.split())


def clean_code(text: str, people: Known) -> str:
    """Take out of a code or a version only what is known to identify: its digits have a meaning."""
    cleaned = people.text.sub("", text) if people.text is not None else text
    cleaned = ID_CARD.sub(lambda match: "" if is_id_card(match[0]) else match[0], cleaned)
    return NAMING.sub("", cleaned).strip()


def clean_version(text: str, people: Known) -> str:
    """Clean a version as a code, and of numbers too long to be one."""
    return LONG_NUMBER.sub("", clean_code(text, people)).strip()


def is_id_card(number: str) -> bool:
    """Check a Chinese resident identity number by its check digit and birth date (GB 11643)."""
    total = sum(weight * int(digit) for weight, digit in zip(ID_WEIGHTS, number, strict=False))
    if ID_CHECKS[total % 11] != number[17].upper():
        return False
    try:
        date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    return True
