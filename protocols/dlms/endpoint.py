"""Endpoint URLs of DLMS meters, as `docs` and the shell spell them.

``dlms+tcp://host:port?client=1&server=1&auth=none|lls|md5|sha1|gmac|sha256&password=..&ek=HEX
&ak=HEX&suite=0|1|2&protection=authentication|encryption|both|none
&ciphering=glo|ded|general-glo|general-ded&system_title=HEX&model=generic``. For a link to a
concentrator only the transport counts, because each meter's `MeterAccess` says the rest. Secrets
never show in ``repr`` or in messages.

Transports: ``dlms+tcp``, ``dlms+udp`` (``gateway=NETWORK:HEX`` or ``NETWORK/OCTETS``),
``dlms+hdlc+tcp`` and ``dlms+hdlc+serial:///dev/ttyUSB0?baud=9600&parity=none``; with HDLC
``server_lower=``, ``address_size=1|2|4``, ``meter_address=upper|lower``, ``info=OCTETS``,
``window=FRAMES``, ``frame_timeout=SECONDS``. See `transport`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

from headend.domain.errors import BadInput
from headend.ports import MeterAccess
from protocols.dlms.transport import (
    SCHEMES,
    HdlcSerialTransport,
    Transport,
    meter_address,
    read_number,
    read_transport,
    transport_parameters,
)

__all__ = ["SCHEMES", "DlmsEndpoint", "parse_endpoint"]

AUTHENTICATIONS = ("none", "lls", "md5", "sha1", "gmac", "sha256")
PROTECTIONS = ("authentication", "encryption", "both", "none")
CIPHERINGS = ("glo", "ded", "general-glo", "general-ded")
_ADDRESS_LIMIT = 0xFFFF
_KEY_SIZES = {"0": 16, "1": 16, "2": 32}  # octets, by security suite
_PARAMETERS = frozenset(
    (
        "client", "server", "auth", "password", "ek", "ak", "system_title", "model", "suite",
        "protection", "ciphering",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class DlmsEndpoint:
    """Where a meter is and how to unlock it."""

    scheme: str
    transport: Transport
    client_address: int = 1
    server_address: int = 1
    authentication: str = "none"
    model: str = "generic"
    system_title: bytes | None = None  # of the client
    encryption_key: bytes | None = field(default=None, repr=False)
    authentication_key: bytes | None = field(default=None, repr=False)
    password: bytes | None = field(default=None, repr=False)
    security_suite: int = 0
    protection: str | None = None  # None: as the model says
    ciphering: str | None = None

    @property
    def host(self) -> str:
        """The host, or the device file of a serial line."""
        transport = self.transport
        return transport.device if isinstance(transport, HdlcSerialTransport) else transport.host

    @property
    def port(self) -> int:
        """The port, 0 for a serial line."""
        transport = self.transport
        return 0 if isinstance(transport, HdlcSerialTransport) else transport.port

    def access(self, meter_id: int = 0) -> MeterAccess:
        """Return the access of the one meter this URL names."""
        return MeterAccess(
            meter_id=meter_id,
            address=meter_address(self.transport, self.server_address),
            model=self.model,
            client_address=self.client_address,
            authentication=self.authentication,
            encryption_key=self.encryption_key,
            authentication_key=self.authentication_key,
            password=self.password,
            security_suite=self.security_suite,
            protection=self.protection,
            ciphering=self.ciphering,
        )


def parse_endpoint(url: str) -> DlmsEndpoint:
    """Read an endpoint URL; raises `BadInput` naming the parameter, never its secret value."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # refuses one that is no number
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as fault:
        raise BadInput(
            f"not an endpoint such as dlms+tcp://host:4059?client=1 ({fault})", field="endpoint"
        ) from None
    known = _PARAMETERS | transport_parameters(parts.scheme)
    query = dict(pairs)
    unknown = sorted(set(query) - known)
    if unknown:
        raise BadInput(
            f"a {parts.scheme} endpoint has no parameter {unknown[0]!r}", field=unknown[0]
        )
    password, suite = query.get("password"), _suite(query)
    key_size = _KEY_SIZES[suite]
    server = _address(query, "server")
    endpoint = DlmsEndpoint(
        scheme=parts.scheme,
        transport=read_transport(parts, query, server=server),
        client_address=_address(query, "client"),
        server_address=server,
        authentication=_one_of(query, "auth", AUTHENTICATIONS) or "none",
        model=query.get("model", "generic"),
        system_title=_hex(query, "system_title", 8),
        encryption_key=_hex(query, "ek", key_size),
        authentication_key=_hex(query, "ak", key_size),
        password=None if password is None else password.encode(),
        security_suite=int(suite),
        protection=_one_of(query, "protection", PROTECTIONS),
        ciphering=_one_of(query, "ciphering", CIPHERINGS),
    )
    _check_secrets(endpoint)
    return endpoint


def _check_secrets(endpoint: DlmsEndpoint) -> None:
    if endpoint.authentication not in ("none", "gmac") and endpoint.password is None:
        raise BadInput(f"auth={endpoint.authentication} needs password=", field="password")
    if endpoint.authentication == "gmac":
        for name, key in (("ek", endpoint.encryption_key), ("ak", endpoint.authentication_key)):
            if key is None:
                raise BadInput(f"auth=gmac needs {name}=", field=name)


def _one_of(query: dict[str, str], name: str, known: tuple[str, ...]) -> str | None:
    value = query.get(name)
    if value is not None and value not in known:
        raise BadInput(f"{name}={value!r} is none of {', '.join(known)}", field=name)
    return value


def _suite(query: dict[str, str]) -> str:
    """Return the security suite; a key of 32 octets says by itself that it is 2."""
    given = _one_of(query, "suite", tuple(_KEY_SIZES))
    if given is not None:
        return given
    return "2" if len(query.get("ek", "")) == 2 * _KEY_SIZES["2"] else "0"


def _address(query: dict[str, str], name: str) -> int:
    return read_number(query, name, 1, range(_ADDRESS_LIMIT + 1))


def _hex(query: dict[str, str], name: str, size: int) -> bytes | None:
    text = query.get(name)
    if text is None:
        return None
    try:
        value = bytes.fromhex(text)
    except ValueError:
        raise BadInput(f"{name} is not hexadecimal", field=name) from None
    if len(value) != size:
        raise BadInput(f"{name} has {len(value)} octets, not {size}", field=name)
    return value
