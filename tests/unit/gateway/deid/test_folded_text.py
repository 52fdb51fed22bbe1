"""One name, one number, one age in every script and width; the medicine beside it stays."""

from datetime import date

import pytest

from gateway.deid import folding, names, text

NOBODY = names.known(frozenset(), frozenset(), frozenset(), frozenset())


def knowing(*people, numbers=(), places=(), births=()):
    return names.known(*map(frozenset, (people, numbers, places, births)))


@pytest.mark.parametrize(
    ("told", "written"),
    [
        ("张伟明", "張偉明"),
        ("張偉明", "张伟明"),
        ("張偉明", "Zhang Weiming"),
        ("ZHANG^WEIMING", "張偉明"),
        ("歐陽娜娜", "欧阳娜娜"),
        ("吕布", "呂布"),
        ("张伟明", "ＺＨＡＮＧ ＷＥＩＭＩＮＧ"),
        ("张伟明", "张\u200b伟\u00ad明"),
        ("张伟明", "Zha\u0304ng We\u030cimi\u0301ng"),
        ("Mu\u0308llerscho\u0308n^Jan", "Müllerschön"),
        ("张伟明", "伟明"),
        ("張偉明", "伟明"),
    ],
)
def test_a_name_is_found_in_the_other_script_and_width(told, written):
    known = knowing(told)

    assert text.clean(f"頭部 {written} 平掃", known) == "頭部 平掃"
    assert known.found_in(f"頭部 {written} 平掃")


def test_a_number_and_a_place_are_found_in_the_other_width_and_script():
    known = knowing(numbers=["Ｐ0012345678"], places=["同濟醫院"])

    assert text.clean("CT P0012345678", known) == "CT"
    assert text.clean("CT ｐ００１２３４５６７８", known) == "CT"
    assert not knowing(places=["同濟某院"]).found_in("胸部")
    assert knowing(places=["同濟某院"]).found_in("在同济某院")


@pytest.mark.parametrize(
    "pointing",
    [
        "患者張曉明", "報告醫師：李國強", "審核：李國強", "审核：李国强", "姓名 王建国",
        "联系人李芳", "欧阳女士",
        "95岁", "95 歲", "九十五岁", "age 97", "97-year-old", "097Y", "年龄：103",
        "二〇二四年五月三日", "民國47年3月7日", "１９５８年３月７日", "1958．03．07",
        "出生于1958年",
        "护照号E12345678", "通行证号C12345678", "医保卡号A12345678", "微信号 zhangsan_1988",
        "QQ:12345678", "鄂A12345", "沪B·88888", "A123456(7)", "A123456789", "MRN 884422",
        "１３８１２３４５６７８", "北京市朝阳区建国路88号院3号楼1201",
    ],
)  # fmt: skip
def test_what_points_at_a_person_goes_in_every_form(pointing):
    assert text.clean(f"CT {pointing}", NOBODY) == "CT"


@pytest.mark.parametrize(
    "written", ["男,王建国,60岁", "王建国 60岁 男", "王建国（男，60岁）", "王建國 60歲 女"]
)
def test_a_name_beside_sex_and_age_goes_and_they_stay(written):
    cleaned = text.clean(written, NOBODY)

    assert "王" not in cleaned
    assert "60" in cleaned


@pytest.mark.parametrize(
    "medicine",
    [
        "胸部平掃 增強", "頭顱MRI平掃+DWI", "患者陈述胸痛", "报告：未见异常", "审核：通过",
        "报告：马蹄肾", "男，肺部CT 60岁", "女 白内障 70岁", "67岁", "60-95岁", "90岁以上筛查",
        "TR 90 TE 12", "SIRT 90Y", "aged 90 days", "p.R109Y", "出生2000g", "ACC 2", "新E型",
        "九十例", "家属拒绝增强", "右侧股骨头／髋臼", "Ａｂｄｏｍｅｎ",
    ],
)  # fmt: skip
def test_the_medicine_stays_as_it_was_written(medicine):
    assert text.clean(medicine, NOBODY) == medicine


def test_a_given_name_that_is_a_word_of_medicine_stays():
    assert text.clean("胸部 增强", knowing("曾增强")) == "胸部 增强"


@pytest.mark.parametrize("written", ["580307", "五八年三月七日", "１９５８．３．７"])
def test_a_birth_date_is_found_in_short_and_wide_forms(written):
    assert text.clean(f"CT {written}", knowing(births=[date(1958, 3, 7)])) == "CT"


def test_folding_keeps_every_character_in_its_place():
    for one in map(chr, range(0x20, 0xFFFF)):
        assert len(folding.folded(one)) == 1, hex(ord(one))
