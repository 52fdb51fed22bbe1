"""A syslog message as it travels over TLS: RFC 5424's header, RFC 5425's frame."""

FACILITY = 10  # security and authorisation: what audit messages go by (PS3.15 A.6)
NOTICE, WARNING = 5, 4
MESSAGE_ID = "DICOM+RFC3881"
MARK = b"\xef\xbb\xbf"  # RFC 5424 6.4: what follows is UTF-8


def framed(message: bytes, at: str, host: str, process: int, *, alert: bool) -> bytes:
    """Return one message with its header, and its length before it (RFC 5425 4.3)."""
    priority = FACILITY * 8 + (WARNING if alert else NOTICE)
    header = f"<{priority}>1 {at} {_word(host)} radfed {process} {MESSAGE_ID} - "
    body = header.encode("ascii") + MARK + message
    return f"{len(body)} ".encode("ascii") + body


def _word(text: str) -> str:
    """Return a header's word: printable ASCII without spaces (RFC 5424 6)."""
    return "".join(c for c in text if "!" <= c <= "~")[:255] or "-"
