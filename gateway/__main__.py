"""`python -m gateway` is `radfed gateway`; its receivers and its picture maker begin here too."""

import sys
from typing import NoReturn


def _fail(fault: Exception, *, as_json: bool) -> NoReturn:
    """Say what ended the run, as every command does."""
    sys.modules.pop("rich", None)  # the run did without
    import typer

    from gateway.cli.report import door

    def failed(*, as_json: bool) -> NoReturn:  # noqa: ARG001 - the door reads it
        raise fault

    try:
        door(failed)(as_json=as_json)
    except typer.Exit as end:
        sys.exit(end.exit_code)
    raise fault


def _begin(words: list[str]) -> None:
    from gateway.app.running import asked_to_run, run

    if (asked := asked_to_run(words)) is None:
        from gateway.cli import gateway

        gateway(prog_name="python -m gateway")
        return
    from gateway.errors import GatewayError

    try:
        run(asked)
    except (GatewayError, OSError) as fault:
        _fail(fault, as_json=asked.as_json)


if __name__ == "__main__":
    if sys.argv[1:2] == ["intake-worker"]:
        from gateway.app.lean import receive

        receive(sys.argv[2:])
    elif sys.argv[1:2] == ["picture-worker"]:
        from gateway.app.picture_worker import work

        work(sys.argv[2:])
    else:
        _begin(sys.argv[1:])
