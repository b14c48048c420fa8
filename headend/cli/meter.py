"""``headend meter``: one meter or one captured frame, without a database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headend.cli.meter_reading import events, identify, profile, read
from headend.cli.meter_settings import limits, push
from headend.cli.meter_switching import clock, relay
from headend.cli.tables import show_json, show_table, show_values
from headend.domain.errors import BadInput

if TYPE_CHECKING:
    from protocols.dlms.decode import DecodeKeys

meter = typer.Typer(
    help="Diagnose one meter, or decode what one sent. Needs no database.",
    rich_markup_mode=None,
    no_args_is_help=False,
)
meter.command(short_help="Tell what a meter is.")(identify)
meter.command(short_help="Read objects of a meter.")(read)
meter.command(short_help="Read a profile with all that it captures.")(profile)
meter.command(short_help="Read, open or close the supply contact.")(relay)
meter.command(short_help="Read or set the clock.")(clock)
meter.command(short_help="Read the event logs.")(events)
meter.command(short_help="Read or set the limits it enforces.")(limits)
meter.command(short_help="Read or set what it pushes.")(push)
KEY_SIZES = (16, 32)  # octets: AES-128 and AES-256
TITLE_SIZE = 8
# Rows of the table of what surrounds the values, in this order.
_SURROUNDINGS = (
    "time", "time_utc", "service", "meter_id", "list", "system_title", "manufacturer",
    "invocation_counter", "invoke_id", "blocks", "detail",
)  # fmt: skip


@meter.callback()
def _meter() -> None:
    """Keep the sub-commands below one word."""


@meter.command(short_help="Decode a captured frame or APDU.")
def decode(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Octets, or hex text of any form; - is stdin.")
    ],
    key: Annotated[
        str | None,
        typer.Option(metavar="HEX|FILE", help="Encryption key, in hex or in a file that holds it."),
    ] = None,
    auth_key: Annotated[
        str | None,
        typer.Option(metavar="HEX|FILE", help="Authentication key; without it no tag is checked."),
    ] = None,
    system_title: Annotated[
        str | None,
        typer.Option(metavar="HEX", help="The sender, where the APDU does not name it."),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse a frame with a wrong check sum.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show what a captured frame says: HDLC, M-Bus, WRAPPER or a bare APDU, ciphered or not."""
    from protocols.dlms.decode import decode_capture
    from protocols.dlms.decode_document import build_document

    keys = _keys(key, auth_key, system_title)
    document = build_document(decode_capture(_read(file), keys, strict=strict))
    if as_json:
        show_json(document)
    else:
        _show(document)


def _read(file: Path) -> bytes:
    try:
        if str(file) == "-":
            import sys

            return sys.stdin.buffer.read()
        return file.read_bytes()
    except OSError as error:
        raise BadInput(f"cannot read {file}: {error.strerror}", field="FILE") from error


def _keys(key: str | None, auth_key: str | None, title: str | None) -> DecodeKeys | None:
    from protocols.dlms.decode import DecodeKeys

    if key is None:
        if auth_key is not None:
            raise BadInput("--auth-key without --key deciphers nothing", field="key")
        return None
    octets = read_secret(key, "--key", KEY_SIZES)
    authentication = None if auth_key is None else read_secret(auth_key, "--auth-key", KEY_SIZES)
    sender = None if title is None else read_secret(title, "--system-title", (TITLE_SIZE,))
    return DecodeKeys(octets, authentication, sender)


def read_secret(given: str, option: str, sizes: tuple[int, ...]) -> bytes:
    """Return the octets of a secret in hex, or of one in a file; the secret is never repeated."""
    wanted = " or ".join(str(2 * size) for size in sizes)
    try:
        octets = bytes.fromhex(given)
    except ValueError:
        octets = b""
    if len(octets) in sizes:
        return octets
    path = Path(given)
    try:
        content = path.read_bytes() if path.is_file() else None
    except OSError as error:
        raise BadInput(f"{option}: cannot read the file: {error.strerror}", field=option) from error
    if content is None:
        raise BadInput(
            f"{option} is neither {wanted} hex digits nor a file that is there", field=option
        )
    if len(content) in sizes:
        return content
    try:
        octets = bytes.fromhex(content.decode("ascii"))
    except ValueError:
        octets = b""
    if len(octets) not in sizes:
        raise BadInput(f"{option}: the file does not hold {wanted} hex digits", field=option)
    return octets


def _show(document: dict[str, Any]) -> None:
    surroundings = {
        name: document[name] for name in _SURROUNDINGS if document.get(name) is not None
    }
    for name, value in document.get("security", {}).items():
        surroundings[f"security {name}"] = value
    for name, value in document.get("relay", {}).items():
        surroundings[f"relay {name}"] = value
    for number, value in enumerate(document.get("unparsed", ()), start=1):
        surroundings[f"unparsed {number}"] = value
    show_values("Message", {name: _plain(value) for name, value in surroundings.items()})
    rows = [
        (entry["obis"], _plain(entry["value"]), entry.get("unit", ""), entry.get("class", ""))
        for message in document.get("messages", [document])
        for entry in message.get("values", ())
    ]
    if rows:
        show_table("Values", ("OBIS", "value", "unit", "class"), rows)
    columns = ("link", "offset", "length", "source", "destination", "kind", "checked")
    frames = [tuple(frame.get(name, "") for name in columns) for frame in document["frames"]]
    show_table("Frames", columns, frames)
    for warning in document["warnings"]:
        typer.echo(f"headend: {warning}", err=True)


def _plain(value: object) -> object:
    # Identifiers are no amounts: only texts pass the table's grouping of digits unchanged.
    return str(value)
