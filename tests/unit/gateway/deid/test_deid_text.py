import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.deid import charsets, names, text
from protos import anatomy

NOBODY = names.known(frozenset(), frozenset(), frozenset(), frozenset())


def knowing(*people: str, numbers=(), places=()):
    return names.known(frozenset(people), frozenset(numbers), frozenset(places), frozenset())


@pytest.mark.parametrize(
    "spelt",
    [
        "ZHANG^SAN", "Zhang San", "SAN ZHANG", "zhangsan", "ZhangSan", "San, Zhang", "ZHANG_SAN",
        "张三", "张 三", "张^三", "三张", "zhang", "T1 ZHANG SAN sag",
    ],
)  # fmt: skip
def test_the_patients_name_goes_however_it_is_spelt(spelt):
    known = knowing("ZHANG^SAN=张^三")

    assert not known.found_in(text.clean(f"腹部 {spelt} 平扫", known))
    assert "平扫" in text.clean(f"腹部 {spelt} 平扫", known)


@pytest.mark.parametrize(
    ("person", "spelt"),
    [
        ("张伟", "张 伟"),
        ("欧阳娜", "欧阳 娜"),
        ("ZHANGWEI", "Zhang Wei"),
        ("ZhangWei", "zhang_wei"),
    ],
)
def test_a_name_kept_in_one_word_goes_in_two(person, spelt):
    assert text.clean(f"胸部 {spelt} 平扫", knowing(person)) == "胸部 平扫"


@pytest.mark.parametrize(
    "spelt", ["1234-5678", "1234 5678", "１２３４５６７８", "12345678", "X12345678"]
)
def test_a_number_goes_however_it_is_grouped(spelt):
    assert "567" not in text.clean(f"CT {spelt}", knowing(numbers=["12345678"]))
    assert "５" not in text.clean(f"CT {spelt}", knowing(numbers=["12345678"]))


@pytest.mark.parametrize(
    "pointing",
    [
        "11010519491231002X", "13812345678", "138-1234-5678", "+86 138 1234 5678", "010-62345678",
        "wang.wei@hospital.cn", "http://pacs.local/x?id=7", "2021-03-04", "2021年3月4日",
        "20210304",
        "03/04/2021", "4 Mar 2021", "March 4, 2021", "姓名：王小二", "Name: John Smith",
        "MRN: A1234",
        "王建国医生", "Dr. John Smith", "Mr Smith", "北京协和医院", "Saint Mary Hospital",
        "DOE^JANE",
        "北京市东城区帅府园1号", "1.2.840.113619.2.55.3.604688", "192.168.1.77", "(415) 555-0133",
        "住院号:0012345", "报告医生:李四", "98765432101", "tel 6234 5678", "电话62345678",
    ],
)  # fmt: skip
def test_what_points_at_a_person_a_place_or_a_day_goes(pointing):
    cleaned = text.clean(f"CT {pointing}", NOBODY)

    assert cleaned in ("CT", ""), cleaned


@pytest.mark.parametrize(
    ("written", "left"),
    [
        ("患者李四", ""), ("报告医师 王建国", ""), ("审核医生李明 已阅", "已阅"),
        ("技师张三，薄层", "，薄层"),
        ("操作者 欧阳娜", ""), ("Dr. 王建国", ""), ("主任刘洋", ""),
        ("患者王建国因腹痛入院", "因腹痛入院"),
        ("李四 男 45岁", "男 45岁"), ("胸部平扫 王小明，女性，60岁", "胸部平扫 ，女性，60岁"),
        ("患者李四男45岁", "男45岁"), ("医师：欧阳娜", ""), ("Prof 陈静", ""),
    ],
)  # fmt: skip
def test_a_stranger_goes_where_a_role_or_an_age_stands_beside(written, left):
    assert text.clean(written, NOBODY) == left


@pytest.mark.parametrize(
    "medicine",
    [
        "患者高热", "患者张口困难", "患者于昨日出现腹痛", "患者曾行手术", "患者白血病",
        "患者黄疸", "医生石膏固定后",
        "患者马尾综合征", "患者周围型肺癌", "患者金属植入", "主任查房", "患者严重狭窄",
        "患者安静状态下扫描", "胸部平扫 男 45岁",
        "患者左肺结节", "患者余无异常", "患者唐氏综合征", "患者杜氏肌营养不良", "医生建议复查",
        "患者女，30岁", "张口位 男", "技师操作",
        "患者关节", "患者配合", "患者叶间裂", "患者自述胸痛", "患者万古霉素",
    ],
)  # fmt: skip
def test_a_word_of_medicine_that_begins_as_a_surname_stays(medicine):
    assert text.clean(medicine, NOBODY) == medicine


@pytest.mark.parametrize(
    "phrase",
    ["胸部平扫", "增强", "薄层", "头颅CT平扫", "胸部CT平扫+增强 薄层1.0mm", "颅脑MRI平扫", "骨窗"],
)
@pytest.mark.parametrize(
    ("declared", "encoding"),
    [
        ("iso8859", "gbk"), ("iso8859", "utf-8"), ("latin_1", "gbk"), ("UTF8", "gbk"),
        ("GBK", "utf-8"),
        ("GB18030", "utf-8"), ("GB18030", "gb18030"), ("iso_ir_58", "gbk"),
    ],
)  # fmt: skip
def test_phrases_survive_a_charset_that_lies(phrase, declared, encoding):
    read = charsets.decode(phrase.encode(encoding), (declared,))

    assert text.clean(read, NOBODY) == phrase


@pytest.mark.parametrize("word", ["Müller", "Zhāng Wěi lǚ", "Ștefan", "Nguyễn", "Łódź", "Ærø"])
def test_letters_of_europe_and_pinyin_are_no_chinese(word):
    assert charsets.decode(word.encode(), ("iso8859",)) == word
    assert charsets.decode(word.encode(), ("UTF8",)) == word


@pytest.mark.parametrize(
    "medicine",
    [
        "CT CHEST W/O CONTRAST", "DR CHEST AP", "MR BRAIN T1 MPRAGE 1.0mm iso", "t2_tse_sag_384",
        "胸部CT平扫+增强", "腰椎正侧位", "Abdomen 5.0 B30f", "HEAD 3.0 H31s", "MS plaque FLAIR",
        "肝右叶见直径12mm低密度影", "SUV 2.5 g/ml", "L4-L5", "120 kV 200 mAs", "65-80%",
    ],
)  # fmt: skip
def test_the_medicine_stays(medicine):
    assert text.clean(medicine, NOBODY) == medicine


def test_a_word_of_medicine_that_is_also_a_name_stays():
    known = knowing("HEAD^PHANTOM")

    assert text.clean("HEAD ROUTINE", known) == "HEAD ROUTINE"


def test_identity_numbers_are_known_by_their_check_digit():
    assert text.is_id_card("11010519491231002X")
    assert not text.is_id_card("110105194912310021")


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "gbk"])
def test_chinese_bytes_under_no_charset_are_read_right(encoding):
    assert charsets.decode("王小明 腹部".encode(encoding), ("iso8859",)) == "王小明 腹部"


def test_a_charset_is_believed_where_it_can_be():
    assert charsets.decode("Müller".encode("latin-1"), ("latin_1",)) == "Müller"
    assert charsets.decode("Люкceмбypг".encode("iso8859-5"), ("iso_ir_144",)) == "Люкceмбypг"
    assert charsets.decode(
        b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab", ("iso8859",)
    ) == ("Zhang^XiaoDong=张^小东")


def test_a_name_is_known_in_every_reading_its_bytes_have():
    read = charsets.readings("Castañeda^Ximena".encode("gb18030"), ("iso8859_2",))

    assert "Castañeda^Ximena" in read
    assert read[0] != "Castañeda^Ximena"


def test_misspelt_charsets_are_understood():
    assert charsets.encodings(("ISO-IR 192",)) == ("UTF8",)
    assert charsets.encodings(("nonsense",)) == ("iso8859",)


@given(st.binary(max_size=200))
def test_any_bytes_can_be_read(raw):
    for declared in (("iso8859",), ("GB18030",), ("UTF8",), ("iso8859", "iso2022_jp")):
        assert isinstance(charsets.decode(raw, declared), str)


@given(st.text(max_size=400))
def test_cleaning_twice_is_cleaning_once_for_known_names(anything):
    known = knowing("Wangxiaoming^Lei=王^晓明")

    assert not known.found_in(text.clean(f"{anything} 王晓明 Wangxiaoming", known))


def test_a_long_run_of_letters_is_cleaned_in_time():
    assert text.clean("a" * 200_000, NOBODY) == "a" * 200_000


@pytest.mark.parametrize(
    ("coded", "texts", "part"),
    [
        ("CHEST", [], "CHEST"), ("", ["胸部CT平扫"], "CHEST"), ("", ["", "HEAD ROUTINE"], "HEAD"),
        ("C_SPINE", [], "CSPINE"), ("", ["Lumbar spine T2"], "LSPINE"), ("", ["颅脑平扫"], "BRAIN"),
        ("HEADNECK", [], "HEAD"), ("EAR", [], "OTHER"), ("", [], ""), ("", ["QC"], ""), ("Knee",
        [], "KNEE"),
        ("", ["冠脉CTA"], "HEART"), ("", ["左膝关节"], "KNEE"),
    ],
)  # fmt: skip
def test_body_parts_are_mapped_to_the_vocabulary(coded, texts, part):
    assert anatomy.body_part(coded, texts) == part


@pytest.mark.parametrize(
    ("written", "maker"),
    [
        ("GE MEDICAL SYSTEMS", "GE"), ("Siemens HealthCare GmbH", "SIEMENS"), ("UIH",
        "UNITED IMAGING"),
        ("上海联影", "UNITED IMAGING"), ("Philips Medical Systems", "PHILIPS"), ("ACME",
        "OTHER"), ("",
        ""),
        ("TOSHIBA_MEC", "TOSHIBA"), ("FUJI PHOTO FILM", "FUJIFILM"),
    ],
)  # fmt: skip
def test_makers_are_mapped_to_the_vocabulary(written, maker):
    assert anatomy.manufacturer(written) == maker


@pytest.mark.parametrize("word", ["SE", "EPI", "dicom2nifti", "fl2d"])
def test_a_technical_word_stays_though_somebody_is_called_so(word):
    assert text.clean(word, knowing(word, numbers=[word])) == word
    assert text.clean(f"{word} Wei", knowing(f"{word}^Wei")) == ""


@pytest.mark.parametrize("word", ["zhangwei", "Kowalski", "HX4711"])
def test_a_sequence_named_after_the_patient_goes(word):
    assert text.clean(word, knowing(word, numbers=[word])) == ""
    assert word not in text.clean(f"*{word}_2", knowing(word, numbers=[word]))
