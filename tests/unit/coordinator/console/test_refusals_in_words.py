"""What the coordinator refuses with is said in the reader's language on every page."""

import ast
import re
from importlib.resources import files
from itertools import product

import pytest

from coordinator.api.parse import parse_where
from coordinator.console.fault_words import fault_in_words
from coordinator.errors import InvalidRequest
from protos.pages import languages

CHINESE = languages.load("coordinator.console")["zh-CN"]
# Whose refusals a page can bring up; what an operator types in the shell alone stays English.
ROOMS = ("api/parse.py", "federation/rules.py", "federation/slip.py", "jobs/slip.py",
         "api/reports.py", "app/questioning.py", "console/ask.py", "console/job_board.py",
         "console/projects.py", "console/report_board.py")  # fmt: skip
STANDING = (
    "7",
    "Modality",
    "",
    "(character 7)",
    " (character 7)",
    " at character 7",
    ": one of a, b",
)
SHELL = {"%s: sign nothing", "%s%s"}  # said by a command; a sentence and its place


def sentences(room):
    """Return the sentences of a module's refusals, with %s for what stands in them."""
    tree = ast.parse((files("coordinator") / room).read_text("utf-8"))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Raise) or not isinstance(node.exc, ast.Call):
            continue
        for said in node.exc.args[:1]:
            for one in [said.body, said.orelse] if isinstance(said, ast.IfExp) else [said]:
                if isinstance(one, ast.Constant):
                    yield one.value
                if isinstance(one, ast.JoinedStr):
                    yield "".join(
                        part.value if isinstance(part, ast.Constant) else "%s"
                        for part in one.values
                    )


def is_said(sentence):
    """Say whether a sentence is in Chinese, whatever of the usual stands in it."""
    for values in product(STANDING, repeat=sentence.count("%s")):
        said = "".join(a + b for a, b in zip(sentence.split("%s"), (*values, ""), strict=True))
        if re.search(r"[\u4e00-\u9fff]", fault_in_words(said, CHINESE)):
            return True
    return False


@pytest.mark.parametrize("room", ROOMS)
def test_every_refusal_a_page_brings_up_is_said_in_chinese(room):
    found = [one for one in sentences(room) if one not in SHELL]

    assert [one for one in found if not is_said(one)] == []


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("Modality = 'XX'", "`XX`（第 12 个字符） 不是 Modality 的取值：您是否指 `XA`？"),
        ("PatientAge > 1000", "PatientAge 的范围是 0 至 90：1000（第 14 个字符） 超出范围"),
        ("Modality > 'CT'", "Modality 只能用 = != IN 比较（第 1 个字符）"),
    ],
)
def test_a_filter_that_cannot_be_asked_is_explained_with_its_place(typed, said):
    with pytest.raises(InvalidRequest) as refused:
        parse_where(typed)

    assert fault_in_words(str(refused.value), CHINESE) == said


def test_what_nobody_foresaw_stays_as_it_came():
    assert fault_in_words("the moon is in the way", CHINESE) == "the moon is in the way"
