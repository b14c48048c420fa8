"""One plain APDU as a line that a person can read, with every secret left out.

Secret are passwords, dedicated keys, digests of a password, and the attributes and methods that
carry such (`SECRET_ATTRIBUTES`, `SECRET_METHODS`). An APDU that cannot be decoded is told as such.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from headend.domain.errors import HeadEndError
from protocols.dlms import acse, initiate, xdr
from protocols.dlms import requests as rq
from protocols.dlms import responses as rs
from protocols.dlms.acse import Mechanism
from protocols.dlms.errors import AccessResult
from protocols.dlms.initiate import Conformance
from protocols.dlms.selection import EntrySelection, RangeSelection, Selection
from protocols.dlms.services.masking import MASK, place_of
from protocols.dlms.services.values import show

LONGEST_VALUE = 240  # characters of a value that are shown
# (class, attribute) of what must not be shown: association and SN secrets, PPP and SMTP passwords,
# the PIN of a modem.
SECRET_ATTRIBUTES = frozenset(((15, 7), (12, 5), (44, 5), (46, 4), (45, 3)))
# (class, method): change of an HLS secret, key transfer, key agreement.
SECRET_METHODS = frozenset(((15, 2), (12, 6), (64, 2), (64, 3), (64, 7), (64, 8)))
_REPLY_TO_HLS = (15, 1)
_DIGESTS = frozenset((Mechanism.HLS_MD5, Mechanism.HLS_SHA1, Mechanism.HLS_SHA256, Mechanism.HLS))
_REQUEST_TAGS = frozenset((rq.GET_REQUEST, rq.SET_REQUEST, rq.ACTION_REQUEST))


@dataclass(slots=True)
class Reader:
    """Reads the APDUs of one association in order: an answer is secret if its request was.

    ``hidden`` are the places of the APDU read last that must not be shown; ``found`` collects
    secrets that the conversation itself carried, such as a dedicated key.
    """

    mechanism: int = Mechanism.NONE
    hidden: list[range] = field(default_factory=list)
    found: set[bytes] = field(default_factory=set)
    _answer_is_secret: bool = False

    def tell(self, apdu: bytes) -> str:
        """Return what an APDU says."""
        self.hidden = []
        try:
            return self._tell(apdu)
        except (HeadEndError, IndexError, ValueError) as fault:
            # What cannot be read may hold anything.
            self.hidden = [range(1, len(apdu))]
            return f"an APDU that cannot be read ({fault})"

    def _tell(self, apdu: bytes) -> str:
        tag = apdu[0]
        if tag == acse.AARQ:
            return self._tell_aarq(apdu)
        if tag == acse.AARE:
            return self._tell_aare(apdu)
        if tag in (acse.RLRQ, acse.RLRE):
            return "release request" if tag == acse.RLRQ else "release response"
        if tag == 0x01:
            return self._tell_initiate(apdu)
        if tag == 0x08:
            response = initiate.decode_initiate_response(apdu)
            return f"initiate response: {_conformance(response.conformance)}, PDU of" + (
                f" {response.max_pdu} octets"
            )
        if tag in _REQUEST_TAGS:
            return self._tell_request(rq.decode_request(apdu), apdu)
        return self._tell_response(rs.decode_response(apdu), apdu)

    # Association.

    def _tell_aarq(self, apdu: bytes) -> str:
        aarq = acse.decode_aarq(apdu)
        self.mechanism = aarq.mechanism
        parts = [f"association request: {_context(aarq.context)}, {_mechanism(aarq.mechanism)}"]
        if aarq.system_title:
            parts.append(f"client title {aarq.system_title.hex().upper()}")
        if aarq.authentication is not None:
            if aarq.mechanism <= Mechanism.LLS:
                self.hidden.append(place_of(aarq.authentication, apdu))
                parts.append(f"password {MASK}")
            else:
                parts.append(f"challenge {aarq.authentication.hex().upper()}")
        if aarq.user_information[:1] == b"\x01":
            parts.append(self._tell_inner(aarq.user_information, apdu))
        return ", ".join(parts)

    def _tell_aare(self, apdu: bytes) -> str:
        aare = acse.decode_aare(apdu)
        result = ("accepted", "rejected for good", "rejected for now")
        said = result[aare.result] if aare.result < len(result) else f"result {aare.result}"
        diagnostic = acse.name_diagnostic(aare.diagnostic, by_provider=aare.by_provider)
        parts = [f"association response: {said}, {diagnostic}, {_context(aare.context)}"]
        if aare.system_title:
            parts.append(f"meter title {aare.system_title.hex().upper()}")
        if aare.authentication:
            parts.append(f"challenge {aare.authentication.hex().upper()}")
        if aare.user_information[:1] in (b"\x08", b"\x0e"):
            parts.append(self._tell_inner(aare.user_information, apdu))
        return ", ".join(parts)

    def _tell_inner(self, inner: bytes, apdu: bytes) -> str:
        """Tell a plain APDU inside another; its hidden places move with it."""
        outer, self.hidden = self.hidden, []
        text = self._tell(inner)
        shift = place_of(inner, apdu).start
        moved = [range(each.start + shift, each.stop + shift) for each in self.hidden]
        self.hidden = outer + moved
        return text

    def _tell_initiate(self, apdu: bytes) -> str:
        request = initiate.decode_initiate_request(apdu)
        text = f"initiate request: {_conformance(request.conformance)}, PDU of {request.max_pdu}"
        if request.dedicated_key:
            self.found.add(request.dedicated_key)
            self.hidden.append(place_of(request.dedicated_key, apdu))
            text += f" octets, dedicated key {MASK}"
        return text

    # Requests and answers.

    def _tell_request(self, request: rq.Request, apdu: bytes) -> str:
        match request:
            case rq.GetRequest(attribute=at, selection=selection):
                self._answer_is_secret = _is_secret(at)
                return f"get {_at(at)}{_selection(selection)}"
            case rq.GetRequestList(items=items):
                self._answer_is_secret = any(_is_secret(at) for at, _ in items)
                return f"get {'; '.join(_at(at) + _selection(s) for at, s in items)}"
            case rq.GetRequestNext(block=block):
                return f"get the block behind {block}"
            case rq.SetRequest(attribute=at, value=value):
                return f"set {_at(at)} to {self._value(value, apdu, secret=_is_secret(at))}"
            case rq.ActionRequest(method=method, parameter=parameter):
                return self._tell_action(method, parameter, apdu)
        # Blocks of a long value cannot be judged one by one.
        name = _words(type(request).__name__)
        if isinstance(request, rq.GetRequestNext | rq.ActionRequestNext):
            return name
        self.hidden.append(range(3, len(apdu)))
        return f"{name} ({len(apdu)} octets)"

    def _tell_action(self, method: rq.Attribute, parameter: bytes | None, apdu: bytes) -> str:
        named = f"invoke method {method.number} of {method.obis} (class {method.class_id})"
        proof = (method.class_id, method.number) == _REPLY_TO_HLS
        secret = (method.class_id, method.number) in SECRET_METHODS
        secret = secret or (proof and self.mechanism in _DIGESTS)
        self._answer_is_secret = secret
        if parameter is None:
            return named
        return f"{named} with {self._value(parameter, apdu, secret=secret)}"

    def _tell_response(self, response: rs.Response, apdu: bytes) -> str:
        secret = self._answer_is_secret
        match response:
            case rs.GetResponse(data=data):
                return f"got {self._data(data, apdu, secret=secret)}"
            case rs.GetResponseBlock(last=last, block=block, data=data):
                if secret:
                    self.hidden.append(range(3, len(apdu)))
                size = data.text if isinstance(data, AccessResult) else f"{len(data)} octets"
                return f"got block {block}{', the last' if last else ''}: {size}"
            case rs.GetResponseList(items=items):
                return f"got {'; '.join(self._data(i, apdu, secret=secret) for i in items)}"
            case rs.SetResponse(result=result):
                return f"set: {result.text}"
            case rs.ActionResponse(result=result, data=data):
                text = f"invoked: {result.text}"
                shown = "" if data is None else f", {self._data(data, apdu, secret=secret)}"
                return text + shown
            case rs.ExceptionResponse() | rs.ConfirmedServiceError():
                return f"refused: {response.text}"
        if secret:
            self.hidden.append(range(3, len(apdu)))
        return _words(type(response).__name__)

    def _data(self, data: bytes | AccessResult, apdu: bytes, *, secret: bool) -> str:
        if isinstance(data, AccessResult):
            return data.text
        return self._value(data, apdu, secret=secret)

    def _value(self, octets: bytes, apdu: bytes, *, secret: bool) -> str:
        if secret:
            self.hidden.append(place_of(octets, apdu))
            return f"{MASK} ({len(octets)} octets)"
        text = str(show(xdr.decode(octets)))
        return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]} ..."


def _is_secret(at: rq.Attribute) -> bool:
    return (at.class_id, at.number) in SECRET_ATTRIBUTES


def _at(at: rq.Attribute) -> str:
    return f"{at.class_id}/{at.obis}/{at.number}"


def _selection(selection: Selection | None) -> str:
    match selection:
        case None:
            return ""
        case RangeSelection(first=first, last=last):
            return f" from {show(first)} to {show(last)}"
        case EntrySelection(first=first, last=last):
            return f" entries {first} to {last}"
    return f" by selector {selection.selector}"


def _context(context: int) -> str:
    names = {1: "logical names, plain", 3: "logical names, ciphered", 2: "short names, plain"}
    return names.get(context, f"context {context}")


def _mechanism(mechanism: int) -> str:
    try:
        return f"authentication {Mechanism(mechanism).name.lower().replace('_', '-')}"
    except ValueError:
        return f"authentication {mechanism}"


def _conformance(conformance: Conformance) -> str:
    names = [(each.name or "").lower().replace("_", "-") for each in conformance]
    return " ".join(names) or "nothing"


def _words(name: str) -> str:
    """Return a class' name as words: ``SetRequestBlock`` is "set request block"."""
    return "".join(f" {c.lower()}" if c.isupper() else c for c in name).strip()
