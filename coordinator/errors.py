"""Every way the coordinator can fail, each with a sentence for an operator and an exit code."""

from enum import IntEnum


class ExitCode(IntEnum):
    OK = 0
    USAGE = 2
    ENVIRONMENT = 3
    CONFIGURATION = 4
    UNREACHABLE = 5
    REFUSED_IDENTITY = 6
    REFUSED_PRIVACY = 7
    PARTIAL = 8
    INTEGRITY = 9


class CoordinatorError(Exception):
    """The root of the tree; its text says what happened and what to do next."""

    exit_code = ExitCode.ENVIRONMENT


class EnvironmentFault(CoordinatorError):
    """The machine lacks something: a free port, a writable directory, disk."""


class ConfigurationFault(CoordinatorError):
    """The coordinator's own files say something that cannot be."""

    exit_code = ExitCode.CONFIGURATION


class CoordinatorUnreachable(CoordinatorError):
    """A client gets no answer from the coordinator."""

    exit_code = ExitCode.UNREACHABLE


class InvalidRequest(CoordinatorError):
    """What was asked cannot be: a word outside the vocabulary, a malformed message."""

    exit_code = ExitCode.USAGE


class NotFound(CoordinatorError):
    """Nothing of that name is known."""

    exit_code = ExitCode.USAGE


class WrongMoment(CoordinatorError):
    """What was asked is understood, and the present state does not allow it."""

    exit_code = ExitCode.USAGE


class TooLarge(CoordinatorError):
    """A message or an object is over its limit."""

    exit_code = ExitCode.USAGE


class TooFast(CoordinatorError):
    """One caller sends more than its share."""


class Refused(CoordinatorError):
    """Identity or approval is missing."""

    exit_code = ExitCode.REFUSED_IDENTITY


class Unauthenticated(Refused):
    """The caller's certificate is not, or no longer, one this federation accepts."""


class IntegrityFault(CoordinatorError):
    """Something stored or sent is not what it claims: a digest, a signature, a broken chain."""

    exit_code = ExitCode.INTEGRITY
