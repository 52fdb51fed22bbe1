"""`radfed demo`: three hospitals and a coordinator on this machine, end to end."""

import json
import shutil
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, NoReturn

import typer

demo = typer.Typer(
    name="demo",
    help="Three hospitals and a coordinator on this machine, end to end, with the proof.\n\n"
    "Example: radfed demo --once --keep /tmp/federation",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
)
ENVIRONMENT, FAILED = 3, 9  # exit codes: the machine lacks something; a promise did not hold


@demo.callback()
def run(
    once: Annotated[bool, typer.Option("--once", help="Stop everything at the end.")] = False,
    keep: Annotated[
        Path | None, typer.Option(help="Keep all state in this new or empty directory.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Your own DICOM files: they join what the PACS push.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Draws other phantoms and other patients.")] = 1,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document on stdout; implies --once.")
    ] = False,
) -> None:
    """Raise a federation on loopback, push studies, ask, train, and prove what left."""
    if shutil.which("bwrap") is None:
        _end("bubblewrap is missing: install the package bubblewrap", ENVIRONMENT)
    if keep is not None and keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        _end(f"{keep} is not an empty directory: choose another --keep", ENVIRONMENT)
    if data is not None and not data.is_dir():
        _end(f"{data} is not a directory: give --data a directory of DICOM files", ENVIRONMENT)
    try:
        home = keep.absolute() if keep else Path(tempfile.mkdtemp(prefix="radfed-demo-"))
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        code = _tell(home, seed, data, once=once or as_json, as_json=as_json)
    except OSError as fault:  # no room, no right to write: what the demo cannot be without
        where = f"{fault.filename}: " if fault.filename else ""
        _end(f"{where}{fault.strerror}: choose another --keep, or free space", ENVIRONMENT)
    if keep is None and code != FAILED:  # what failed is there to be looked at
        shutil.rmtree(home, ignore_errors=True)
    raise typer.Exit(code)


def _tell(home: Path, seed: int, data: Path | None, *, once: bool, as_json: bool) -> int:
    """Run the story, then stop at once or stay up until a signal; return the exit code."""
    # For the whole process: the archives are made by several threads, and a filter set by one of
    # them ends with it for all. The wheel's files are odd on purpose.
    warnings.filterwarnings("ignore", module="pydicom")
    from deploy.demo.archive import OwnFiles, dicom_below
    from deploy.demo.commands import CommandFailed, TookTooLong
    from deploy.demo.failure import DemoFailed
    from deploy.demo.screen import Screen
    from deploy.demo.story import Story
    from deploy.demo.supervisor import ProcessGaveUp, Supervisor

    ending = Signals()
    screen = Screen(quiet=as_json)
    supervisor = Supervisor(home / "run", home / "logs")
    own = dicom_below(data) if data else OwnFiles()
    if data and not own.instances:
        _end(f"{data} holds no DICOM file that can be read: give --data another", ENVIRONMENT)
    story = Story(home, seed, own.instances, screen, supervisor)
    try:
        if data:
            screen.note(
                f"{data}: {len(own.instances)} instances join; {own.left_out} files do not: "
                "the same instance again, or no DICOM that can be read"
            )
            screen.keep("own", {"instances": len(own.instances), "left_out": own.left_out})
        story.tell()
        if not once:
            story.say_addresses()
            ending.wait_for_a_signal()
    except (DemoFailed, CommandFailed, TookTooLong, ProcessGaveUp) as fault:
        _show_logs(home / "logs")
        typer.echo(f"radfed: {fault}; all of it is kept in {home}", err=True)
        if as_json:
            _print_json({"error": str(fault), "exit_code": FAILED, **screen.document()})
        return FAILED
    except Interrupted:
        typer.echo("radfed: stopped before the end", err=True)
        return 128 + signal.SIGINT
    finally:
        ending.no_more()
        story.end()
    if as_json:
        _print_json(screen.document())
    return 0


def _print_json(document: Mapping[str, object]) -> None:
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


class Interrupted(Exception):
    """Somebody ended the demo before it had told its story."""


class Signals:
    """SIGINT and SIGTERM: they interrupt the story, end the wait after it, and then nothing."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._waiting = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._came)

    def wait_for_a_signal(self) -> None:
        self._waiting = True
        while not self._ended.wait(1.0):
            pass

    def no_more(self) -> None:
        """Let what is being stopped stop in order."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)

    def _came(self, *_: object) -> None:
        self._ended.set()
        if not self._waiting:
            self._waiting = True  # a second one must not interrupt the stopping
            raise Interrupted


def _show_logs(logs: Path) -> None:
    """Print the end of each log."""
    for log in sorted(logs.glob("*.log")):
        lines = log.read_text("utf-8", "replace").splitlines()[-12:]
        typer.echo("\n".join([f"--- {log.name}", *lines]), err=True)


def _end(sentence: str, code: int) -> NoReturn:
    typer.echo(f"radfed: {sentence}", err=True)
    raise typer.Exit(code)
