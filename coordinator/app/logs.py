"""Logs: one JSON object a line on stderr; events and facts, never a message's content."""

import logging
import sys

import structlog

from coordinator.app.plain_logs import only_facts


def configure() -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            only_facts,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        # Looked up at each event: who replaces stderr (a test, a supervisor) gets the lines.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.getLogger("alembic").setLevel(logging.WARNING)
