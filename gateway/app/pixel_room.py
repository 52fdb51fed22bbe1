"""The process that looks at pixels: native code reads what strangers sent, so it reads it apart.

It is started when it is needed. One that takes too long, or dies, costs the instance it looked at a
place in quarantine, and nothing else.
"""

import os
import resource
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from io import BufferedReader
from typing import IO

import structlog

from gateway.app.process import die_with_parent
from gateway.config import PixelLimits
from gateway.line.pixel_look import LookInterrupted
from gateway.line.pixel_wire import Answer, PipeEnded, Question, read_answer, write

log = structlog.get_logger()

GRACE_SECONDS = 30.0  # to load the models, to decode, and to notice that time is over
PATIENCE = 5  # times the processor's seconds: it gives way to everybody
POLITE = 10  # receivers come first
ENDED = "looking at its pixels ended the process that did it"
TOO_SLOW = "looking at its pixels took longer than `seconds_at_most`"


class PixelRoom:
    """Keeps one such process; asked by one thread at a time."""

    def __init__(self, limits: PixelLimits) -> None:
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, question: Question, stopping: Callable[[], bool]) -> Answer:
        """Return what it answers; LookInterrupted where the gateway stops meanwhile."""
        process = self._alive()
        assert process.stdin is not None
        assert process.stdout is not None
        question = replace(
            question,
            seconds=self._limits.seconds_at_most,
            decoded_bytes_at_most=self._limits.decoded_bytes_at_most,
        )
        # It writes while the other side may still load: a thread, so that time is kept.
        telling = threading.Thread(target=_tell, args=(process.stdin, question), daemon=True)
        telling.start()
        until = time.monotonic() + PATIENCE * self._limits.seconds_at_most + GRACE_SECONDS
        while not select.select([process.stdout], [], [], 0.2)[0]:
            if stopping():
                self.close()
                raise LookInterrupted("the gateway stops")
            if time.monotonic() > until:
                self.close()
                return Answer(doubt=TOO_SLOW)
        try:
            answer = read_answer(process.stdout)
        except PipeEnded:
            log.error("pixel_process_died", status=process.wait())  # noqa: TRY400 - no traceback
            self.close()
            answer = Answer(doubt=ENDED)
        telling.join()
        return answer

    def close(self) -> None:
        """End the process; harmless where there is none."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()
        process.wait()

    def _alive(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            command = [sys.executable, "-m", "gateway", "pixel-worker"]
            command += ["--parent", str(os.getpid())]
            command += ["--memory-bytes", str(self._limits.memory_bytes)]
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        return self._process


def _tell(stream: IO[bytes], question: Question) -> None:
    with suppress(OSError, ValueError):  # it died, or was ended: the answer says so
        write(stream, question, "dataset")


def work(parent: int, memory_bytes: int) -> None:
    """Look at pixels until the pipe ends: apart, bounded, silent."""
    from gateway.line.pixel_answer import serve
    from gateway.line.text_reader import TextReader

    die_with_parent(parent)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    os.nice(POLITE)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # Decoders print what they please: none of it is an answer.
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, sys.stdout.fileno())
    questions = sys.stdin.buffer
    assert isinstance(questions, BufferedReader)
    serve(questions, answers, TextReader)
