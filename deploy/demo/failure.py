"""What ends the demo: a promise that did not hold in this run."""


class DemoFailed(Exception):
    """Its text says what was expected and what was found."""
