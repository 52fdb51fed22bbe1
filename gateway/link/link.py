"""The federation door: dials out, stays connected, and says clearly when it cannot."""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from secrets import SystemRandom
from threading import Event, Thread
from typing import Protocol

import grpc
import structlog

from gateway.config import Federation
from gateway.errors import GatewayError, PeerUnreachable
from gateway.link.bulk import Bulk, BulkDesk
from gateway.link.channel import open_channel, refusal_of
from gateway.link.control import ALONE, ControlDesk, Conversation, HungUp, Standing
from gateway.link.credentials import Credentials, clock
from gateway.link.pace import Pace, hours_of
from gateway.link.places import Places
from gateway.link.probe import diagnose
from gateway.link.proxy import Proxy, proxy_for
from gateway.link.renewal import Renewal
from gateway.link.rules import delay
from gateway.link.status import LinkState, LinkStatus, StatusBoard
from gateway.release.gate import Gate

READY_SECONDS = 10.0
IDENTITY = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)

log = structlog.get_logger()


class LinkDesk(ControlDesk, BulkDesk, Protocol):
    """What the link needs of the desk."""


class Link:
    """Keeps one control stream to the coordinator, and a bulk connection while there is need."""

    def __init__(
        self,
        credentials: Credentials,
        settings: Federation,
        gate: Gate,
        desk: LinkDesk,
        status_file: Path,
        version: str,
        now: Callable[[], datetime] = clock,
        standing: Standing = ALONE,
    ) -> None:
        self._standing = standing
        self._credentials = credentials
        self._settings = settings
        self._gate = gate
        self._desk = desk
        self._version = version
        self._now = now
        self._draw = SystemRandom().uniform
        first = LinkStatus(
            coordinator=credentials.address,
            since=now().isoformat(),
            certificate_expires=credentials.not_after.isoformat(),
        )
        self._board = StatusBoard(status_file, now, first)
        self._places = Places(settings.standbys)
        self._turn = 0  # the number of the conversation that speaks for this gateway
        self._renewal = Renewal(
            credentials.directory, gate, self._proxy, version, now, self._draw, self._places.here
        )
        self._at_most = self._places.patience(settings.reconnect_seconds_at_most)
        pace = Pace(settings.bulk_bytes_per_second, hours_of(settings.bulk_hours), now)
        self._bulk = Bulk(gate, desk, lambda: self.is_connected, self._draw, self._at_most, pace)

    @property
    def status(self) -> LinkStatus:
        return self._board.status

    @property
    def is_connected(self) -> bool:
        return self._board.status.state is LinkState.CONNECTED

    def run(self, stop: Event) -> None:
        """Stay connected until `stop`; no failure ends this but the end of the process.

        A renewed certificate is shown on a new conversation. The coordinator ends the old one when
        the new one stands: the newest of a site's is the live one, so nothing is dropped between.
        """
        self._board.change(LinkState.STARTING)
        bulk = Thread(target=self._bulk.run, args=(self._open, stop), name="link-bulk")
        bulk.start()
        talks = [self._begin(stop)]
        while not stop.wait(self._renewal.pause()):
            if self._renewed():
                talks = [talk for talk in talks if talk.is_alive()] + [self._begin(stop)]
        for thread in (*talks, bulk):
            thread.join()
        self._board.change(LinkState.STOPPED)

    def _renewed(self) -> bool:
        try:
            return self._renewal.attempt()
        except Exception as fault:  # noqa: BLE001 - a door: the link outlives a failed renewal
            log.error("renewal_fault", fault=type(fault).__name__)  # noqa: TRY400 - no text of exceptions in logs
            return False

    def _begin(self, stop: Event) -> Thread:
        self._turn += 1
        talk = Thread(target=self._talk, args=(stop, self._turn), name=f"link-talk-{self._turn}")
        talk.start()
        return talk

    def _talk(self, stop: Event, turn: int) -> None:
        """Converse again and again, until a later turn has taken over."""
        failures = 0
        while not stop.is_set() and turn == self._turn:
            welcomed, answers = self._converse(stop, turn)
            tried_all = (welcomed and answers) or self._places.move_on(self._credentials)
            failures = tried_all + (0 if welcomed else failures)
            if tried_all and not stop.is_set() and turn == self._turn:
                stop.wait(delay(failures, self._at_most, self._draw))

    def _converse(self, stop: Event, turn: int) -> tuple[bool, bool]:
        """Hold one conversation; return whether we were welcomed, and whether it answers still.

        One that has welcomed us and answers no more may be frozen: the next address is tried.
        """
        answers = True
        conversation = Conversation(
            self._gate,
            self._desk,
            self._board,
            self._settings,
            self._version,
            self._bulk.is_pushed,
            self._now,
            self._standing,
        )
        try:
            with self._open() as channel:
                if self._reach(channel, stop):
                    conversation.run(channel, stop)
                    self._lost("the coordinator ended the conversation", stop, turn)
        except HungUp as fault:
            self._fail(turn, fault.state, fault.says)
        except GatewayError as fault:
            self._fail(turn, _state_of(fault), str(fault))
        except grpc.RpcError as fault:
            answers = self._explain(fault, stop, turn)
        except Exception as fault:  # noqa: BLE001 - a door: the link outlives what one message does
            # No text of an exception: it may quote what a message said.
            log.error("link_fault", fault=type(fault).__name__)  # noqa: TRY400 - as above
            says = "this gateway failed while talking: see its log"
            self._fail(turn, LinkState.UNREACHABLE, says)
        return conversation.welcomed, answers

    def _open(self) -> grpc.Channel:
        # Enrolled again or renewed meanwhile: the newest identity is the one to show.
        self._credentials = Credentials.load(self._credentials.directory) or self._credentials
        self._credentials.require_current(self._now())
        here = self._places.here(self._credentials)
        self._board.certified(self._credentials.not_after, here.address)
        return open_channel(here, self._proxy(here.address))

    def _reach(self, channel: grpc.Channel, stop: Event) -> bool:
        """Wait until the channel stands: a hello nobody can hear is not written into the ledger."""
        ready, failed = Event(), Event()

        def watch(state: grpc.ChannelConnectivity) -> None:
            if state is grpc.ChannelConnectivity.READY:
                ready.set()
            elif state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                failed.set()

        channel.subscribe(watch, try_to_connect=True)
        waited = 0.0
        while not (ready.is_set() or failed.is_set() or stop.is_set() or waited > READY_SECONDS):
            ready.wait(0.02)
            waited += 0.02
        with suppress(ValueError):
            channel.unsubscribe(watch)
        if ready.is_set() or stop.is_set():
            return ready.is_set() and not stop.is_set()
        found = self._diagnose()
        raise found or PeerUnreachable(
            f"the coordinator at {self._places.here(self._credentials).address} does not finish a "
            "connection"
        )

    def _diagnose(self) -> GatewayError | None:
        here = self._places.here(self._credentials)
        return diagnose(here, self._now(), self._proxy(here.address))

    def _proxy(self, address: str) -> Proxy | None:
        return proxy_for(self._settings.proxy, address)

    def _explain(self, fault: grpc.RpcError, stop: Event, turn: int) -> bool:
        """Turn a failed call into a state and a sentence; say whether the coordinator answers."""
        status, text = refusal_of(fault)
        if stop.is_set():
            return True
        if status in IDENTITY:
            self._fail(turn, LinkState.REFUSED, f"the coordinator refuses this gateway: {text}")
        elif status is grpc.StatusCode.FAILED_PRECONDITION:
            self._fail(turn, LinkState.VERSION, f"the coordinator cannot talk with us: {text}")
        elif status is grpc.StatusCode.UNAVAILABLE:
            self._fail(turn, LinkState.UNREACHABLE, "the connection was lost")  # at once
            found = self._diagnose()
            state = _state_of(found) if found else LinkState.UNREACHABLE
            self._fail(turn, state, str(found) if found else "the connection was lost")
            return found is None
        else:
            self._fail(
                turn, LinkState.UNREACHABLE, f"the conversation failed ({status.name}): {text}"
            )
        return True

    def _lost(self, says: str, stop: Event, turn: int) -> None:
        if not stop.is_set():
            self._fail(turn, LinkState.UNREACHABLE, says)

    def _fail(self, turn: int, state: LinkState, says: str) -> None:
        if turn != self._turn:
            return  # the conversation that took over says how the link is
        if (state, says) != (self._board.status.state, self._board.status.says):
            log.warning("link_down", state=str(state), says=says)
        self._board.change(state, says)


def _state_of(fault: GatewayError) -> LinkState:
    return LinkState.UNREACHABLE if isinstance(fault, PeerUnreachable) else LinkState.REFUSED
