"""The door: raw bytes in; nothing reaches a desk before its sender and size are checked.

For each single message: the caller's certificate still holds and its role may call the method,
the size is within the method's limit, it is recorded where recording is on; then it is decoded.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from functools import lru_cache
from types import MappingProxyType
from typing import Any, TypeAlias

import grpc
import grpc.aio
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from coordinator.audit import AuditTrail
from coordinator.errors import InvalidRequest, Refused, TooLarge, Unauthenticated
from coordinator.link.pace import Pace
from coordinator.link.record import Recorder
from coordinator.link.refusals import refusal
from coordinator.model import CHUNK_BYTES, Caller, Clock
from coordinator.registry.certificates import read_caller
from coordinator.registry.rules import check_caller, check_permission
from protos.identity import Role

CONTROL_BYTES = 64 << 10
BULK_BYTES = CHUNK_BYTES + (64 << 10)  # a chunk and what names it
LIMITS: Mapping[str, int] = MappingProxyType(
    {
        "radfed.v1.LinkService/Push": BULK_BYTES,
        "radfed.v1.JobService/UploadBundle": BULK_BYTES,
    }
)

IN_FORCE = frozenset({Role.GATEWAY, Role.RENEWAL})  # whose certificates can be taken back
WHATEVER_STANDING = frozenset({"radfed.v1.EnrolmentService/Preflight"})  # it says why not

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, Message]"
Admits = Callable[[Caller], None]  # raises where a gateway is not in force
_WORD = re.compile(r"(?<!^)(?=[A-Z])")
_caller_of = lru_cache(maxsize=4096)(read_caller)  # parsing a certificate costs more than a message


def method_of(servicer: object, rpc: MethodDescriptor) -> Any:  # noqa: ANN401 - as the rpc is shaped
    """Return the servicer's method for an rpc: its name in snake case."""
    return getattr(servicer, _WORD.sub("_", rpc.name).lower())


class Door:
    """Turns a service's descriptor and an object with its methods into gRPC handlers.

    The object's methods bear the rpc's name in snake case and take the caller and the request
    (or the stream of requests); they return the response (or yield responses).
    """

    def __init__(
        self,
        federation: str,
        clock: Clock,
        admits: Admits,
        audit: AuditTrail,
        recorder: Recorder | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._federation = federation
        self._clock = clock
        self._admits = admits
        self._audit = audit
        self._recorder = recorder
        self._pace = pace or Pace()

    def handlers(
        self, service: ServiceDescriptor, servicer: object
    ) -> "grpc.GenericRpcHandler[bytes, Message]":
        return grpc.method_handlers_generic_handler(
            service.full_name,
            {rpc.name: self._handler(rpc, f"{service.full_name}/{rpc.name}", servicer)
             for rpc in service.methods},
        )  # fmt: skip

    def _handler(
        self, rpc: MethodDescriptor, method: str, servicer: object
    ) -> "grpc.RpcMethodHandler[bytes, Message]":
        act = method_of(servicer, rpc)
        request = GetMessageClass(rpc.input_type)
        made = {
            (False, False): (grpc.unary_unary_rpc_method_handler, self._one_to_one),
            (False, True): (grpc.unary_stream_rpc_method_handler, self._one_to_many),
            (True, False): (grpc.stream_unary_rpc_method_handler, self._many_to_one),
            (True, True): (grpc.stream_stream_rpc_method_handler, self._many_to_many),
        }
        handler, shape = made[rpc.client_streaming, rpc.server_streaming]
        serialise = GetMessageClass(rpc.output_type).SerializeToString
        return handler(shape(act, method, request), None, serialise)

    def _one_to_one(self, act: Any, method: str, kind: type[Message]) -> Any:  # noqa: ANN401 - gRPC calls it
        async def call(raw: bytes, context: Context) -> Message:
            try:
                caller = self._caller(context)
                response: Message = await act(
                    caller, await self._receive(caller, method, kind, raw)
                )
            except Exception as fault:
                await self._refuse(context, method, fault)
                raise
            return response

        return call

    def _one_to_many(self, act: Any, method: str, kind: type[Message]) -> Any:  # noqa: ANN401 - gRPC calls it
        async def call(raw: bytes, context: Context) -> AsyncIterator[Message]:
            try:
                caller = self._caller(context)
                request = await self._receive(caller, method, kind, raw)
                async with aclosing(act(caller, request)) as responses:
                    async for response in responses:
                        self.check(caller, method)  # a long answer may outlive its certificate
                        yield response
            except Exception as fault:  # noqa: BLE001 - the door is where errors end
                await self._refuse(context, method, fault)

        return call

    def _many_to_one(self, act: Any, method: str, kind: type[Message]) -> Any:  # noqa: ANN401 - gRPC calls it
        async def call(raws: AsyncIterator[bytes], context: Context) -> Message:
            try:
                caller = self._caller(context)
                response: Message = await act(caller, self._requests(caller, method, kind, raws))
            except Exception as fault:
                await self._refuse(context, method, fault)
                raise
            return response

        return call

    def _many_to_many(self, act: Any, method: str, kind: type[Message]) -> Any:  # noqa: ANN401 - gRPC calls it
        async def call(raws: AsyncIterator[bytes], context: Context) -> AsyncIterator[Message]:
            try:
                caller = self._caller(context)
                requests = self._requests(caller, method, kind, raws)
                async with aclosing(act(caller, requests)) as responses:
                    async for response in responses:
                        self.check(caller, method)
                        yield response
            except Exception as fault:  # noqa: BLE001 - the door is where errors end
                await self._refuse(context, method, fault)

        return call

    async def _requests(
        self, caller: Caller, method: str, kind: type[Message], raws: AsyncIterator[bytes]
    ) -> AsyncIterator[Message]:
        async for raw in raws:
            yield await self._receive(caller, method, kind, raw)

    async def _receive(
        self, caller: Caller, method: str, kind: type[Message], raw: bytes
    ) -> Message:
        self.check(caller, method)
        if method not in LIMITS:  # what travels in large chunks is paced by its acknowledgements
            await asyncio.sleep(self._pace.wait(caller.identity.uri, self._clock()))
        if len(raw) > (limit := LIMITS.get(method, CONTROL_BYTES)):
            raise TooLarge(f"a message of {method.rpartition('/')[2]} has at most {limit} bytes")
        if self._recorder is not None:
            await self._recorder.keep(caller.identity, method, raw)
        try:
            return kind.FromString(raw)
        except DecodeError as fault:
            raise InvalidRequest("the message is not what its method takes") from fault

    def check(self, caller: Caller, method: str) -> None:
        """Refuse a caller that may not, or no longer, call the method."""
        check_caller(caller, self._federation, self._clock())
        check_permission(caller.identity.role, method)
        if caller.identity.role in IN_FORCE and method not in WHATEVER_STANDING:
            self._admits(caller)

    def _caller(self, context: Context) -> Caller:
        found = tuple(context.auth_context().get("x509_pem_cert", ()))
        if not found:
            raise Unauthenticated("no client certificate was presented")
        return _caller_of(bytes(found[0]))

    async def _refuse(self, context: Context, method: str, fault: Exception) -> None:
        if isinstance(fault, grpc.RpcError | grpc.aio.AbortError):
            raise fault
        if isinstance(fault, Refused):
            await self._audit.record(
                "call_refused", method=method, caller=self._named(context), reason=str(fault)
            )
        status, sentence = refusal(fault, method)
        await context.abort(status, sentence)

    def _named(self, context: Context) -> str:
        try:
            return self._caller(context).identity.uri
        except Unauthenticated:
            return "unknown"
