from tests.bench.rows import Figures, Goal, as_documents


def figures() -> Figures:
    found = Figures("ingest")
    for ours, theirs in ((10.0, 20.0), (30.0, 20.0), (20.0, 40.0)):
        found.add("ct x1", "radfed", "CPU per image", "ms", ours)
        found.add("ct x1", "orthanc", "CPU per image", "ms", theirs)
    return found


def test_a_row_tells_the_median_and_every_round():
    ours = next(row for row in figures().rows() if row.subject == "radfed")

    assert (ours.median, ours.rounds) == (20.0, (10.0, 30.0, 20.0))


def test_a_ratio_is_the_median_of_the_rounds_and_judged_by_its_goal():
    goal = Goal("ct x1", "radfed", "CPU per image", at_most=0.5, peer="orthanc")

    paired = next(row for row in figures().rows({"radfed"}, [goal]) if row.peer)

    assert (paired.peer, paired.ratio, paired.goal, paired.met) == (
        "orthanc",
        0.5,
        "<= 0.5 x orthanc",
        True,
    )


def test_a_goal_without_a_peer_judges_the_figure():
    goal = Goal("ct x1", "radfed", "CPU per image", at_most=15)

    judged = next(row for row in figures().rows((), [goal]) if row.goal)

    assert (judged.peer, judged.met) == (None, False)


def test_a_document_has_the_keys_every_bench_shares():
    document = as_documents(figures().rows())[0]

    assert list(document) == [
        *("bench", "case", "subject", "measure", "unit", "median", "rounds"),
        *("peer", "ratio", "goal", "met"),
    ]
