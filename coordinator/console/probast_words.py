"""PROBAST+AI's questions and what is known of them, for the catalogues: as `probast` has them."""

from protos.pages.words import _

SENTENCES = (
    _("external: all patients of hospitals whose gateways refuse to train on it"),
    _("internal: the test split of hospitals that may train on the label"),
    _(
        "yes, each patient once; by DeLong's, Wilson's and likelihood intervals, pooled and "
        "within hospitals"
    ),
    _("localisation, by FROC with intervals over patients; boxes' scores were not calibrated"),
    _("overlap and distance of masks, each patient once; masks have no scores"),
    _("Were appropriate data sources used?"),
    _("routine images of %(reporting)s of %(asked)s hospitals asked; %(design)s"),
    _("Were inclusions and exclusions appropriate?"),
    _("fixed beforehand: %(inclusion)s; and a word on %(label)s"),
    _("Are training and test patients apart?"),
    _(
        "within a hospital by a keyed hash before any job saw them; whether a patient was in "
        "two hospitals is unknown"
    ),
    _("Were predictors the same for all participants?"),
    _(
        "images de-identified under one profile within each hospital; %(shown)s subgroups "
        "could be shown of %(fields)s fields"
    ),
    _("Were predictors assessed without knowledge of the outcome?"),
    _("yes: the product ran without a network and saw no label of a tested patient"),
    _("Are all predictors available when the product is used?"),
    _("not known to the platform"),
    _("Was the outcome determined appropriately?"),
    _("Was it determined without knowledge of the predictors?"),
    _(
        "labels stood in the hospital's index before the product ran; what their readers knew"
        " is not known to the platform"
    ),
    _("Is it the same for all participants?"),
    _("one label, %(label)s, in every hospital"),
    _("Were there enough participants with the outcome?"),
    _("%(count)s of the rarer class"),
    _("%(count)s of the rarer class (fewer than 100)"),
    _("%(count)s with the finding"),
    _("%(count)s with the finding (fewer than 100)"),
    _("Were all participants in the analysis?"),
    _(
        "%(scored)s were scored; %(unscored)s were not, and are counted; %(silent)s hospitals"
        " gave no figures, and each is named; %(timeouts)s of them ran out of time"
    ),
    _("Was the model fixed before the test?"),
    _(
        "bundle and protocol were signed before the set was unlocked (%(reviews)s reviews); "
        "at most look %(look)s of this product"
    ),
    _(
        "bundle, threshold %(threshold)s and protocol were signed before the set was unlocked"
        " (%(reviews)s reviews); at most look %(look)s of this product"
    ),
    _("Were discrimination and calibration both assessed?"),
    _("participants"),
    _("predictors"),
    _("outcome"),
    _("analysis"),
    _("to be made by a person"),
)
