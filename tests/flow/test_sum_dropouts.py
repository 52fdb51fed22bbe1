"""A secure sum between real gateways, without a wire: exact, whoever drops out and when."""

from datetime import UTC, datetime

import numpy as np
import pytest
from scipy import stats

from coordinator.training.secure_sum import SumBroken
from gateway.desk.rules import TaskStage
from gateway.desk.sum_book import SumStage
from protos import masks
from protos.sums import weights_of, width_of
from tests.fakes.summing import SumOfOneRound, acquainted, enter, summand

pytestmark = pytest.mark.flow
NAMES = [f"h{number}" for number in range(5)]
PHASES = ("roster", "shares", "dealers", "masks", "consent", "transcript")


@pytest.fixture
def round_of(tmp_path):
    """Return a maker of rounds: real desks with updates under way, seeded."""

    def make(names=NAMES, values=1000, seed=0, **sums):
        draw = np.random.default_rng(seed)
        hospitals = acquainted(tmp_path, None, names, least=3, **sums)
        tasks = {}
        for hospital in hospitals.values():
            hospital.now = datetime.now(UTC)
            cells = draw.integers(0, 50, 400).tolist()
            update = draw.normal(0, 0.1, values)
            tasks[hospital.site] = enter(hospital, update, float(draw.integers(10, 500)), cells)
        return SumOfOneRound(hospitals, tasks)

    return make


def run(sums, gone=(), at=None):
    """Run a round; `gone` are not heard any more once the phase is reached."""
    steps = {
        "roster": sums.fix_roster,
        "shares": sums.show_roster,
        "dealers": sums.fix_dealers,
        "masks": sums.hand_shares_on,
        "closing": lambda: None,
        "consent": sums.close,
        "transcript": sums.show_transcript,
    }
    for phase, step in steps.items():
        if phase == at:
            sums.gone |= set(gone)
        step()


def plain(sums):
    """Add up, in the clear, what the hospitals in the sum hid under their masks."""
    weights = weights_of(sums.roster.hospitals)
    parts = {
        site: summand(sums.hospitals[site], sums.tasks[site].task_id) for site in sums.survivors
    }
    update = sum(weights[site] * part for site, (part, _) in parts.items())
    return update, sum(cells for _, cells in parts.values())


def assert_exact(sums, into):
    mean, scale, total, histogram = sums.opened(into)
    update, cells = plain(sums)
    wanted = (update.astype(np.float64) * (1.0 / (scale * total))).astype(np.float32)
    assert np.array_equal(mean, wanted)
    assert [*histogram.positives, *histogram.negatives] == cells.tolist()


@pytest.mark.parametrize("at", PHASES)
def test_the_sum_is_the_plain_one_whoever_drops_out_and_when(round_of, tmp_path, at):
    sums = round_of(seed=PHASES.index(at), values=257)

    run(sums, gone=("h2",), at=at)

    assert_exact(sums, tmp_path / "mean")
    # Whoever had sent its masked update is in the sum; of whoever had only dealt, the masks go.
    assert ("h2" in sums.survivors) == (at == "transcript")
    assert ("h2" in sums.dealers) == (PHASES.index(at) > 2)
    stage = sums.hospitals["h0"].sum_book.find("job1.1.h0")
    assert stage.stage is SumStage.UNMASKED
    assert (stage.secrets, stage.held) == (b"", b"")


@pytest.mark.parametrize(("hospitals", "values", "seed"), [(3, 1, 1), (4, 70_000, 2)])
def test_sums_of_any_size_are_exact(round_of, tmp_path, hospitals, values, seed):
    sums = round_of(NAMES[:hospitals], values, seed)

    run(sums)

    assert sums.survivors == NAMES[:hospitals]
    assert_exact(sums, tmp_path / "mean")
    for site, hospital in sums.hospitals.items():
        assert hospital.book.task(sums.tasks[site].task_id).stage is TaskStage.RELEASED
        hospital.ledger.verify()
        hospital.audit.verify()


def test_too_many_drop_outs_open_nothing(round_of, tmp_path):
    sums = round_of()

    with pytest.raises(SumBroken, match="3 of 4 needed"):
        run(sums, gone=("h1", "h2"), at="closing")
    with pytest.raises(SumBroken):
        sums.opened(tmp_path / "mean")
    refused = [
        e.facts["rule"] for e in sums.hospitals["h0"].audit.events() if e.event == "sum_refused"
    ]
    assert refused == ["sum_too_small"]


def test_what_is_under_a_mask_looks_like_nothing(round_of):
    sums = round_of(NAMES, values=200_000)
    run(sums)
    width = width_of(24, weights_of(sums.roster.hospitals).values())

    raw = {site: sums.update(site).read_bytes() for site in sums.survivors}

    for site, masked in raw.items():
        counts = np.bincount(np.frombuffer(masked, np.uint8), minlength=256)
        assert stats.chisquare(counts).pvalue > 1e-6
        numbers = masks.signed(masks.unpacked(masked, width), width) / 2.0 ** (8 * width)
        assert stats.kstest(numbers[:50_000], "uniform", args=(-0.5, 1)).pvalue > 1e-6
        whole, _ = summand(sums.hospitals[site], sums.tasks[site].task_id)
        assert abs(np.corrcoef(numbers[: len(whole)], whole)[0, 1]) < 5 / np.sqrt(len(whole))
    # The control: the same test sees what is not masked.
    bare = np.frombuffer(masks.packed(whole.view(np.uint64), width), np.uint8)
    assert stats.chisquare(np.bincount(bare, minlength=256)).pvalue < 1e-12


def test_a_gateway_that_was_killed_goes_on_where_it_was(round_of, tmp_path):
    sums = round_of(NAMES, values=100)
    again = sums.hospitals["h3"]
    sums.fix_roster()
    sums.show_roster()
    sums.fix_dealers()
    for step in (sums.show_roster, sums.hand_shares_on, sums.close, sums.show_transcript):
        step()
        again.close()
        again.open()
        step()  # and everything is told and heard twice

    assert_exact(sums, tmp_path / "mean")
    events = [e.event for e in again.audit.events()]
    assert events.count("sum_joined") == events.count("sum_unmasked") == 1
    assert events.count("round_released") == 1
    assert "sum_refused" not in events


def test_a_task_killed_between_its_mask_and_its_report_reports(round_of):
    sums = round_of(NAMES)
    for step in (sums.fix_roster, sums.show_roster, sums.fix_dealers, sums.hand_shares_on):
        step()
    hospital, task = sums.hospitals["h1"], sums.tasks["h1"].task_id
    first = hospital.shelf.find(task)
    with hospital.book._transaction() as write:
        write.execute("UPDATE task SET stage = 'summing' WHERE task_id = ?", (task,))
        write.execute("DELETE FROM report WHERE kind = 'outcome'")

    sums.hand_shares_on()

    assert hospital.book.task(task).stage is TaskStage.RELEASED
    assert hospital.shelf.find(task) == first
