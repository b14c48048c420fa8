"""`MeterSession` over one conversation: the head-end's questions as COSEM requests.

Each request and its answer happen inside one turn of the link. An answer counts only when it came
with the association's own security; a plain refusal of a ciphered request is told as an error but
never as the outcome of a switching command.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Generator, Sequence
from datetime import datetime
from typing import TypeVar

from headend.domain.errors import MeterMisbehaved, MeterRefused, OutcomeUnknown
from headend.domain.obis import Obis
from headend.domain.reading import MeterIdentity, ProfileRows, RegisterReading
from headend.domain.supply import ControlState, RelayReading, SupplyAction
from headend.ports import Clock, Turn
from protocols.dlms import client, xdr
from protocols.dlms import data as d
from protocols.dlms import requests as rq
from protocols.dlms import responses as rs
from protocols.dlms.conversation import Conversation, NoAnswer
from protocols.dlms.cosem_time import CosemDateTime
from protocols.dlms.errors import (
    AccessRefused,
    AccessResult,
    MalformedData,
    RequestTooLong,
    refusal,
)
from protocols.dlms.initiate import Conformance, InitiateResponse
from protocols.dlms.knowledge import Knowledge
from protocols.dlms.meter_model import LoadProfile, MeterModel, RelayObject
from protocols.dlms.profile_rows import (
    ProfileColumns,
    decode_rows,
    find_columns,
    read_instant,
    select_range,
)
from protocols.dlms.selection import CaptureObject, Selection
from protocols.dlms.units import ScalerUnit, parse_scaler_unit

CLASS_DATA = 1
CLASS_REGISTER = 3
CLASS_PROFILE = 7
CLASS_CLOCK = 8
CLASS_DISCONNECT = 70
LIST_LIMIT = 16  # attributes in one request; meters with small PDUs answer in blocks
_METHODS = {SupplyAction.DISCONNECT: 1, SupplyAction.RECONNECT: 2}
_T = TypeVar("_T")


class DlmsSession:
    """One authenticated conversation with one meter."""

    def __init__(
        self,
        conversation: Conversation,
        model: MeterModel,
        knowledge: Knowledge,
        *,
        turn: Turn,
        clock: Clock,
        refill: Callable[[], Awaitable[None]],
    ) -> None:
        self._conversation = conversation
        self._association = conversation.association
        self._model = model
        self._knowledge = knowledge
        self._turn = turn
        self._clock = clock
        self._refill = refill
        self._refuses_lists = False

    async def read_identity(self) -> MeterIdentity:
        """Read logical device name and serial; one that the meter does not have is empty."""
        model = self._model
        attributes = [
            rq.Attribute(CLASS_DATA, obis, 2) for obis in (model.logical_device_name, model.serial)
        ]
        name, serial = await self._read_all(attributes)
        return MeterIdentity(_text(name, attributes[0]), _text(serial, attributes[1]))

    async def read_clock(self) -> datetime:
        """Read the meter's clock as an instant, aware UTC."""
        data = await self.get(rq.Attribute(CLASS_CLOCK, self._model.clock, 2))
        value = xdr.decode(data)
        if isinstance(value, bytes):
            value = CosemDateTime.parse(value)
        if not isinstance(value, CosemDateTime):
            raise MalformedData("the clock holds no date-time")
        return read_instant(value, self._model)

    async def read_registers(self, obis: Sequence[Obis]) -> list[RegisterReading]:
        """Read registers, energy in whole units; raises `MeterRefused` naming an absent one."""
        await self._learn_scalers(obis)
        attributes = [rq.Attribute(self._class_of(each), each, 2) for each in obis]
        answers = await self._read_all(attributes)
        readings = []
        for each, attribute, answer in zip(obis, attributes, answers, strict=True):
            raw = _raw_number(_data(answer, attribute))
            scale = self._knowledge.scalers[each]
            value = scale.exact(raw)
            readings.append(RegisterReading(each, value, scale.unit, self._clock.now()))
        return readings

    async def read_profile(self, profile: Obis, start: datetime, end: datetime) -> ProfileRows:
        """Read load-profile rows whose interval *starts* in ``[start, end)``."""
        known = self._model.profiles.get(profile)
        if known is None:
            raise MeterRefused(
                f"model {self._model.name} has no profile {profile}", code="object-undefined"
            )
        columns = await self._learn_columns(known)
        energy = columns.energy
        await self._learn_scalers([energy.column.obis])
        selection: Selection | None = select_range(self._model, known, energy, start, end)
        if not self._association.negotiated.conformance & Conformance.SELECTIVE_ACCESS:
            selection = None  # all rows come, and those outside are dropped below
        attribute = rq.Attribute(CLASS_PROFILE, profile, 2)
        try:
            buffer = await self.get(attribute, selection)
        except (RequestTooLong, AccessRefused):
            if selection is None:
                raise
            buffer = await self.get(attribute)
        scale = self._knowledge.scalers[energy.column.obis]
        return decode_rows(buffer, self._model, known, columns, scale, start=start, end=end)

    async def read_relay(self) -> RelayReading:
        """Read contact, control state and mode, and the power where the meter has it."""
        relay = self._relay()
        attributes = [rq.Attribute(CLASS_DISCONNECT, relay.obis, n) for n in (2, 3, 4)]
        power, absent = relay.power, self._knowledge.absent
        if power is not None and power not in absent:
            # Its scaler first: a meter without that register says so before it matters.
            try:
                await self._learn_scalers([power])
                attributes.append(rq.Attribute(CLASS_REGISTER, power, 2))
            except AccessRefused:
                absent.add(power)
        answers = await self._read_all(attributes)
        output, state, mode = (
            xdr.decode(_data(answer, attribute))
            for answer, attribute in zip(answers[:3], attributes[:3], strict=True)
        )
        power_w = None
        if power is not None and len(answers) == 4 and isinstance(answers[3], bytes):
            power_w = self._knowledge.scalers[power].scale(_number(answers[3]))
        if not isinstance(output, bool) or not isinstance(mode, int):
            raise MalformedData("the output state is no boolean, or the control mode no number")
        return RelayReading(output, _control_state(state), int(mode), power_w)

    async def switch_relay(self, action: SupplyAction, relay: Obis | None = None) -> None:
        """Send the command once; see `MeterSession` for what each error means.

        ``relay`` is the disconnect control where it is not the model's.
        """
        obis = self._relay().obis if relay is None else relay
        method = rq.Attribute(CLASS_DISCONNECT, obis, _METHODS[action])
        parameter = xdr.encode(d.Integer(0))
        flow = client.action(method, parameter, self._association.draw_invoke)
        request = next(flow)
        await self._refill()
        async with self._turn():
            try:
                answer = await self._conversation.ask(request)
            except (NoAnswer, MeterMisbehaved) as fault:
                raise OutcomeUnknown(f"{action} was sent: {fault}") from fault
        if not answer.authenticated and self._association.is_ciphered:
            raise OutcomeUnknown(f"only a plain, unproven answer came to {action}")
        try:
            flow.send(answer.response)
        except StopIteration:
            return
        except MeterMisbehaved as fault:
            raise OutcomeUnknown(f"{action}: {fault}") from fault

    async def get(self, attribute: rq.Attribute, selection: Selection | None = None) -> bytes:
        """Read one attribute; returns its encoded data."""
        return await self._run(client.get(attribute, self._association.draw_invoke, selection))

    async def get_all(self, attributes: Sequence[rq.Attribute]) -> list[bytes | AccessResult]:
        """Read several attributes; each answer is encoded data or the meter's refusal."""
        return await self._read_all(attributes)

    async def set(self, attribute: rq.Attribute, value: bytes) -> None:
        """Write one attribute, its value encoded; raises what `client.set_attribute` does."""
        draw = self._association.draw_invoke
        limit = self._association.limit_of(Conformance.BLOCK_TRANSFER_WITH_SET)
        await self._run(client.set_attribute(attribute, value, draw, limit=limit))

    async def act(self, method: rq.Attribute, parameter: bytes | None) -> bytes:
        """Invoke one method; returns its encoded answer. Not for switching: see `switch_relay`."""
        draw = self._association.draw_invoke
        limit = self._association.limit_of(Conformance.BLOCK_TRANSFER_WITH_ACTION)
        return await self._run(client.action(method, parameter, draw, limit=limit))

    @property
    def negotiated(self) -> InitiateResponse:
        """What the meter agreed to: conformance and PDU size."""
        return self._association.negotiated

    async def _run(self, flow: Generator[rq.Request, rs.Response, _T]) -> _T:
        """Carry a flow's requests, one turn each."""
        request = next(flow)
        while True:
            await self._refill()
            async with self._turn():
                answer = await self._conversation.ask(request)
            try:
                request = flow.send(answer.response)
            except StopIteration as end:
                result: _T = end.value
                return result

    async def _read_all(self, attributes: Sequence[rq.Attribute]) -> list[bytes | AccessResult]:
        """Read attributes in as few exchanges as the meter allows; results stand in their place."""
        answers: list[bytes | AccessResult] = []
        draw = self._association.draw_invoke
        while len(answers) < len(attributes):
            rest = attributes[len(answers) :]
            size = min(len(rest), self._list_size())
            try:
                if size > 1:
                    answers += await self._run(client.get_list(rest[:size], draw))
                else:
                    answers.append(await self._run(client.get(rest[0], draw)))
            except AccessRefused as fault:
                if size > 1:
                    self._refuses_lists = True  # some meters agree to lists and refuse each
                else:
                    answers.append(fault.result)
        return answers

    def _list_size(self) -> int:
        """Return how many attributes one request may name."""
        conformance = self._association.negotiated.conformance
        if self._refuses_lists or not conformance & Conformance.MULTIPLE_REFERENCES:
            return 1
        limit = self._association.request_limit
        fitting = LIST_LIMIT if limit is None else (limit - 4) // 10  # head, octets of each
        return max(1, min(LIST_LIMIT, fitting))

    async def _learn_scalers(self, obis: Sequence[Obis]) -> None:
        """Read scaler and unit of the registers for which neither model nor memory has them."""
        scalers, unknown = self._knowledge.scalers, []
        for each in obis:
            if each in scalers:
                continue
            register = self._model.registers.get(each)
            if register is not None and register.scaler is not None and register.unit is not None:
                scalers[each] = ScalerUnit(register.scaler, register.unit)
            else:
                unknown.append(rq.Attribute(self._class_of(each), each, 3))
        if unknown:
            answers = await self._read_all(unknown)
            for attribute, answer in zip(unknown, answers, strict=True):
                scaler_unit = parse_scaler_unit(xdr.decode(_data(answer, attribute)))
                scalers[attribute.obis] = scaler_unit

    async def _learn_columns(self, profile: LoadProfile) -> ProfileColumns:
        """Read the capture objects of a profile, once per model or meter."""
        known = self._knowledge.columns.get(profile.obis)
        if known is None:
            octets = await self.get(rq.Attribute(CLASS_PROFILE, profile.obis, 3))
            captured = xdr.decode(octets)
            if not isinstance(captured, d.Array):
                raise MalformedData("the capture objects are no array")
            objects = [CaptureObject.from_data(each) for each in captured]
            known = self._knowledge.columns[profile.obis] = find_columns(profile, objects)
        return known

    def _class_of(self, obis: Obis) -> int:
        register = self._model.registers.get(obis)
        return CLASS_REGISTER if register is None else register.class_id

    def _relay(self) -> RelayObject:
        if self._model.relay is None:
            raise MeterRefused(f"model {self._model.name} has no relay", code="object-undefined")
        return self._model.relay


def _data(answer: bytes | AccessResult, attribute: rq.Attribute) -> bytes:
    if isinstance(answer, AccessResult):
        raise refusal(answer, f"reading {attribute}")
    return answer


def _text(answer: bytes | AccessResult, attribute: rq.Attribute) -> str:
    """Return an identity as text; an object the meter does not have is empty."""
    if answer is AccessResult.OBJECT_UNDEFINED:
        return ""
    value = xdr.decode(_data(answer, attribute))
    if isinstance(value, bytes):
        # Some meters keep names in octet-strings that are no text at all.
        return value.decode("ascii") if value.isascii() else value.hex().upper()
    if isinstance(value, str | int) and not isinstance(value, bool):
        return str(value)
    raise MalformedData(f"{attribute} holds no name")


def _number(octets: bytes) -> int:
    value = _raw_number(octets)
    if not math.isfinite(value):
        raise MalformedData("a register holds no finite number")
    return math.floor(value)


def _raw_number(octets: bytes) -> int | float:
    value = xdr.decode(octets)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise MalformedData("a register holds no number")
    return value


def _control_state(value: d.Data) -> ControlState:
    try:
        return ControlState(int(value))
    except (TypeError, ValueError):
        raise MalformedData(f"{value!r} is no control state") from None
