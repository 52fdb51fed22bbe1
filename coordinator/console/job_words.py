"""Words that reach the pages of jobs and reports as values: closed sets of other rooms."""

from protos.pages.words import _

# Stages, kinds, states, decisions, roles and operators, as the rooms spell them.
WORDS = (
    _("in_review"), _("offered"), _("running"), _("finished"), _("failed"), _("stopped"),
    _("training"), _("evaluation"), _("analytics"), _("queued"), _("released"), _("withheld"),
    _("refused"), _("undecided"), _("approved"), _("rejected"), _("none"), _("vendor"),
    _("reviewer"), _("no leakage bound"), _("equal"), _("not_equal"), _("less"),
    _("less_or_equal"), _("greater"), _("greater_or_equal"), _("in"), _("auc"),
    _("froc"), _("dice"), _("sensitivity"), _("specificity"), _("ppv"), _("npv"), _("slope"),
    _("intercept"), _("Brier"), _("external"), _("internal"), _("unknown"), _("missing_positives"),
    _("missing_negatives"), _("unusable_positives"), _("unusable_negatives"),
    _("misplaced_positives"), _("misplaced_negatives"),
)  # fmt: skip

# What reports and their plots say.
SENTENCES = (
    _("ROC curve of all hospitals together"),
    _("1 - specificity"),
    _("calibration: circles by number of patients"),
    _("predicted"),
    _("observed"),
    _("%(cases)s patients: predicted %(predicted)s, observed %(observed)s"),
    _("AUC by hospital, with 95 % intervals"),
    _("sensitivity at the threshold by hospital, with 95 % intervals"),
    _("mean Dice by hospital, with 95 % intervals"),
    _("no figure"),
    _("false marks a patient"),
    _("sensitivity of findings"),
    _("FROC curve of all hospitals together, with its 95 % band"),
    _("patients by Dice"),
    _("HD95 in mm"),
    _("patients by HD95"),
    _("patients"),
    _("from %(low)s: %(count)s patients"),
    _("who was asked, and what became of them"),
    _("none: no hospital of this test trains on the label"),
    _("none: patients of the test split enter no training workspace"),
    _(
        "there is no secure sum yet: the coordinator sees each hospital's counts; a hospital "
        "shows a cell from 10 patients with and 10 without the finding, and none by which a "
        "smaller one could be found by subtraction; a histogram of n cases is charged "
        "log2 C(n + 199, 199) bits"
    ),
    _("in the secure sum"),
    _(
        "pooled by secure sum: the coordinator learned the hospitals' sums alone; a hospital "
        "counts in a cell from 10 patients with and 10 without the finding of its own, and none "
        "by which a smaller one could be found by subtraction; it is charged as if its "
        "histograms were seen"
    ),
)

# What the rooms refuse with, as far as a page can meet it.
REFUSALS = (
    _("there is no job of this name: see `radfed job ls`"),
    _("the job is not over yet: see `radfed job watch`"),
    _("this job has no protocol, so there is no report: see `radfed job show`"),
    _("the report was altered after it was signed: believe nothing in it"),
    _("the hospitals' statistics in this report are damaged"),
    _("the figures are not those of the hospitals' signed statistics"),
    _("this is no place in the list of jobs: begin it anew"),
    _("a key is one line: NAME=HEX, with 64 characters of hex"),
    _("too many keys for a form: use `radfed job verify --key`"),
    _("this is longer than a review is: use `radfed job review`"),
    _("this review is of another version of radfed"),
    _("this is no review: take the file as the page gave it, or as `radfed job sign` wrote it"),
    _("this review is not signed yet: `radfed job sign` signs it"),
    _("this review is of another job"),
    _("the stored bundle is damaged: restore the objects from a backup"),
)
