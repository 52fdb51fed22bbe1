"""A vendor's hostile job: does what the configuration asks for, and reports what worked."""

import bombs
import kernel
import reach
import smuggle

ALL = {**reach.ATTACKS, **kernel.ATTACKS, **bombs.ATTACKS, **smuggle.ATTACKS}


def predict(cohort, weights, config):
    """Return 1.0 for each attack that worked; what the kernel refuses has not."""
    return {name: float(worked(ALL[name], config)) for name in config["attacks"]}


def worked(attack, config):
    try:
        return bool(attack(config))
    except (OSError, ValueError, ImportError, RuntimeError):
        return False
