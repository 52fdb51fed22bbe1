"""Whose word on a case stands, where several readers gave one: all SQL.

An adjudicated word stands before every reader's; what is said of the series before what is said of
its study, and that before what is said of all of a patient's; and among equals POSITIVE stands, so
that a finding one reader saw is not trained on as if nobody had. What was read from a stored object
counts while that object does: not after a rejection note, not when its file is gone.
"""

from string import Template

# 1 and TRUE are spellings of POSITIVE: compared as texts, `1` would stand below `NEGATIVE`.
WORD = """CASE upper(label.value) WHEN '1' THEN 'POSITIVE' WHEN 'TRUE' THEN 'POSITIVE'
    WHEN '0' THEN 'NEGATIVE' WHEN 'FALSE' THEN 'NEGATIVE' ELSE upper(label.value) END"""
COUNTS = """(label.source = '' OR EXISTS (SELECT 1 FROM instance
    WHERE instance.sop_uid = label.source AND instance.hidden = 0))"""
NEAREST = "(label.series_uid IS NOT NULL) DESC, (label.study_uid IS NOT NULL) DESC"
FIRST = f"label.adjudicated DESC, {NEAREST}, {WORD} DESC"

# Of any label; for a question's field `Label`.
WORD_OF_SERIES = f"""coalesce((
    SELECT {WORD} FROM label
    WHERE (label.series_uid = series.series_uid OR label.study_uid = series.study_uid
           OR label.patient IN (study.filed, study.patient)) AND {COUNTS}
    ORDER BY {FIRST} LIMIT 1), '')"""  # noqa: S608 - constants

# The same for many series at once: the first word on each patient, study and series, behind two
# digits that put it in the order of FIRST. What stands is the greatest of a series' own three.
NEAR = """CASE WHEN label.series_uid IS NOT NULL THEN 2 WHEN label.study_uid IS NOT NULL THEN 1
    ELSE 0 END"""
WORDS_IN_ORDER = f"""
    SELECT {NEAR} AS near, coalesce(label.series_uid, label.study_uid, label.patient),
           max(label.adjudicated || {NEAR} || {WORD})
    FROM label WHERE {COUNTS} GROUP BY 1, 2
"""  # noqa: S608 - constants

# Of one label, for each series and study that has one. A patient's is told of each study; and a
# series with words of its own is told its study's, too, for an adjudicated one of those stands.
WORDS_BY_UID = f"""
    WITH said (word, adjudicated, series_uid, study_uid, patient) AS (
        SELECT {WORD}, adjudicated, series_uid, study_uid, patient FROM label
        WHERE name = :name AND {COUNTS}),
    told (uid, word, adjudicated, nearest) AS (
        SELECT coalesce(series_uid, study_uid), word, adjudicated, 1 + (series_uid IS NOT NULL)
        FROM said WHERE patient IS NULL
        UNION ALL
        SELECT study.study_uid, word, adjudicated, 0
        FROM said JOIN study ON study.filed = said.patient
        UNION ALL  -- apart from the last, so that either may use its index
        SELECT study.study_uid, word, adjudicated, 0
        FROM said JOIN study ON study.patient = said.patient),
    heard (uid, word, adjudicated, nearest) AS (
        SELECT uid, word, adjudicated, nearest FROM told
        UNION ALL
        SELECT series.series_uid, told.word, told.adjudicated, told.nearest
        FROM (SELECT DISTINCT series_uid FROM said) AS own
        JOIN series ON series.series_uid = own.series_uid
        JOIN told ON told.uid = series.study_uid),
    placed (uid, word, place) AS (
        SELECT uid, word, row_number() OVER (
            PARTITION BY uid ORDER BY adjudicated DESC, nearest DESC, word DESC) FROM heard)
    SELECT uid, word FROM placed WHERE place = 1
"""  # noqa: S608 - constants

_TARGET = "coalesce(label.series_uid, label.study_uid, label.patient)"
_HAS_IMAGES = """(EXISTS (SELECT 1 FROM series WHERE series.series_uid = label.series_uid)
    OR EXISTS (SELECT 1 FROM study WHERE study.study_uid = label.study_uid)
    OR EXISTS (SELECT 1 FROM study WHERE study.filed = label.patient))"""
_WORDS = Template("""
    WITH words (name, target, reader, adjudicated, word, has_images, from_object, place) AS (
        SELECT label.name, $target, label.reader, label.adjudicated, $word, $has_images,
               label.source <> '',
               row_number() OVER (PARTITION BY label.name, $target ORDER BY $first)
        FROM label WHERE $counts),
    cases (name, target, word, has_images, disputed) AS (
        SELECT name, target, max(CASE place WHEN 1 THEN word END), max(has_images),
               count(DISTINCT word) > 1 AND max(adjudicated) = 0
        FROM words GROUP BY name, target)
""").substitute(target=_TARGET, word=WORD, has_images=_HAS_IMAGES, first=FIRST, counts=COUNTS)
# Exact: for the hospital's own steward. What the federation asks is answered by `cohort`.
BY_NAME = f"""{_WORDS},
    heard (name, readers, adjudicated) AS (
        SELECT name, count(DISTINCT reader), count(DISTINCT CASE adjudicated WHEN 1 THEN target END)
        FROM words GROUP BY name)
    SELECT cases.name AS label, count(*) AS cases,
           sum(cases.word = 'POSITIVE') AS positive, sum(cases.word = 'NEGATIVE') AS negative,
           sum(cases.word NOT IN ('POSITIVE', 'NEGATIVE')) AS other,
           heard.readers, heard.adjudicated,
           sum(cases.disputed) AS disputed, sum(1 - cases.has_images) AS without_images
    FROM cases JOIN heard USING (name) GROUP BY cases.name ORDER BY cases.name
"""  # noqa: S608 - constants
BY_READER = f"""{_WORDS}
    SELECT words.reader, count(*) AS cases,
           sum(words.word = 'POSITIVE') AS positive, sum(words.word = 'NEGATIVE') AS negative,
           sum(words.word NOT IN ('POSITIVE', 'NEGATIVE')) AS other,
           sum(words.adjudicated) AS adjudicated, sum(words.from_object) AS from_objects,
           sum(words.word = cases.word) AS as_it_stands
    FROM words JOIN cases USING (name, target)
    WHERE words.name = :name GROUP BY words.reader ORDER BY words.reader
"""  # noqa: S608 - constants
