import pytest

from gateway.store.labels import Label, NotLabels, read_labels


def read(text):
    return list(read_labels(text.splitlines(keepends=True), lambda uid: f"pseudo-{uid}"))


def test_rows_are_translated_and_the_originals_forgotten():
    labels = read(
        "StudyInstanceUID,SeriesInstanceUID,label,value,reader\n"
        "1.2,,lesion,POSITIVE,r1\n"
        "1.2,1.3,lesion,NEGATIVE,\n"
    )

    assert labels == [
        Label("pseudo-1.2", None, "lesion", "POSITIVE", "r1"),
        Label(None, "pseudo-1.3", "lesion", "NEGATIVE", ""),
    ]


def test_a_study_alone_is_enough():
    (label,) = read("label,value,StudyInstanceUID\nnodule, NEGATIVE ,1.2\n")

    assert (label.study_uid, label.name, label.value) == ("pseudo-1.2", "nodule", "NEGATIVE")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("StudyInstanceUID,label\n1.2,x\n", "columns needed"),
        ("label,value\nx,y\n", "columns needed"),
        ("StudyInstanceUID,label,value,PatientName\n1.2,x,y,Doe\n", "unknown columns"),
        ("StudyInstanceUID,label,value\n1.2,x\n", "line 2"),
        ("StudyInstanceUID,label,value\n1.2,x,y,z\n", "line 2"),
        ("StudyInstanceUID,label,value\nDoe^Jane,x,y\n", "line 2"),
        ("StudyInstanceUID,label,value\n1.2,x,y\n1.2,,y\n", "line 3"),
        ("StudyInstanceUID,label,value\n1.2,x," + "y" * 65 + "\n", "line 2"),
        ("", "columns needed"),
    ],
)
def test_a_file_that_is_not_labels_is_refused_without_quoting_it(text, message):
    with pytest.raises(NotLabels, match=message) as refused:
        read(text)

    assert "Doe" not in str(refused.value)
