"""Every way a gateway can fail, each with a sentence for an operator and an exit code."""

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


class GatewayError(Exception):
    """The root of the tree; its text says what happened and what to do next."""

    exit_code = ExitCode.ENVIRONMENT


class EnvironmentFault(GatewayError):
    """The machine lacks something: a program, a port, a writable disk, a right clock."""


class ConfigurationFault(GatewayError):
    """The site's own files say something that cannot be."""

    exit_code = ExitCode.CONFIGURATION


class PeerUnreachable(GatewayError):
    """A PACS or the coordinator does not answer."""

    exit_code = ExitCode.UNREACHABLE


class Refused(GatewayError):
    """Identity or approval is missing."""

    exit_code = ExitCode.REFUSED_IDENTITY


class IntegrityFault(GatewayError):
    """Something stored is not what was written: a broken chain, a digest, a seal."""

    exit_code = ExitCode.INTEGRITY


class ReserveReached(GatewayError):
    """The disk is down to its reserve: nothing more is taken until there is room."""
