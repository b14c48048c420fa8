"""The whole simulator: one fleet, its clock, its state file and its listeners."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from headend.domain.errors import ConfigurationError, NotFound
from protocols.simulator.business_time import BusinessClock
from protocols.simulator.concentrator import Concentrator
from protocols.simulator.device import Device
from protocols.simulator.faults import Fault, FaultBook, FaultKind
from protocols.simulator.fleet import FleetSpec
from protocols.simulator.journal import FileJournal, Journal, NoJournal
from protocols.simulator.load import CHINA_OFFSET_S
from protocols.simulator.push import Pusher

ALL_METERS = "*"


class Simulator:
    """Builds the fleet, takes up the state of earlier runs, and answers the control socket."""

    def __init__(
        self,
        fleet: FleetSpec,
        *,
        state: Path | None = None,
        clock: BusinessClock | None = None,
        utc_offset_s: int = CHINA_OFFSET_S,
    ) -> None:
        self.fleet = fleet
        self.clock = clock or BusinessClock()
        self._file = FileJournal(state) if state is not None else None
        self._journal: Journal = self._file or NoJournal()
        self.devices: dict[str, Device] = {}
        self.concentrators: dict[str, Concentrator] = {}
        # Records of meters that this fleet does not have: kept, they may come back.
        self._foreign: list[Mapping[str, Any]] = []
        self._build(utc_offset_s)
        self.pusher = Pusher(self.devices, self.clock)
        if self._file is not None:
            self._take_up(self._file)

    async def start(self) -> None:
        """Open every listener; raises `ConfigurationError` naming a port that is in use."""
        for concentrator in self.concentrators.values():
            try:
                await concentrator.start()
            except OSError as error:
                await self.stop()
                raise ConfigurationError(
                    f"concentrator {concentrator.name} cannot listen on {concentrator.host}:"
                    f"{concentrator.port} ({error.strerror or error}); choose another port or 0"
                ) from error
        self.pusher.start()

    async def stop(self) -> None:
        """Close every listener and the state file."""
        await self.pusher.stop()
        for concentrator in self.concentrators.values():
            await concentrator.stop()
        if self._file is not None:
            self._record_clock()
            self._file.close()
            self._file = None

    def device(self, meter_no: str) -> Device:
        """Return one meter's device; raises `NotFound`."""
        device = self.devices.get(meter_no)
        if device is None:
            raise NotFound(f"no meter {meter_no!r} in this fleet", field="meter")
        return device

    def set_offset(self, offset_s: float) -> None:
        """Carry business time forward; raises `BadInput` when it would go back."""
        self.clock.set_offset(offset_s)
        self._record_clock()

    def set_fault(self, target: str, fault: Fault) -> None:
        """Switch a fault on, of a meter, of a concentrator by its name, or of all meters (``*``).

        Raises `NotFound`.
        """
        if target == ALL_METERS:
            for device in self.devices.values():
                device.set_fault(fault)
            return
        concentrator = self.concentrators.get(target)
        if concentrator is None:
            self.device(target).set_fault(fault)
            return
        self._journal.append({**fault.to_json(), "kind": "fault", "concentrator": target})
        concentrator.faults.set(fault)
        if concentrator.is_down:
            concentrator.hang_up()

    def clear_fault(self, target: str, kind: FaultKind | None) -> None:
        """Clear one kind of fault, or all, of a target as in `set_fault`; raises `NotFound`."""
        if target == ALL_METERS:
            for device in self.devices.values():
                device.clear_fault(kind)
            return
        concentrator = self.concentrators.get(target)
        if concentrator is None:
            self.device(target).clear_fault(kind)
            return
        name = kind.value if kind else None
        self._journal.append({"kind": "clear_fault", "concentrator": target, "fault": name})
        concentrator.faults.clear(kind)

    # Private.

    def _build(self, utc_offset_s: int) -> None:
        for group in self.fleet.concentrators:
            devices = {}
            for spec in group.meters:
                device = Device(spec, self.clock, self._journal, utc_offset_s=utc_offset_s)
                device.set_first_faults(spec.faults)
                devices[spec.address] = self.devices[spec.meter_no] = device
            concentrator = Concentrator(
                group.name, devices, self.clock, host=group.host, port=group.port,
                transport=group.transport, seed=self.fleet.seed,
            )  # fmt: skip
            _set_first_faults(concentrator.faults, group.faults)
            self.concentrators[group.name] = concentrator

    def _take_up(self, journal: FileJournal) -> None:
        """Replay earlier runs, settle what fell due meanwhile, and write the state compactly."""
        for record in journal.replay():
            self._replay(record)
        for device in self.devices.values():
            # A movement that was journaled was told: the clock may not go behind it either.
            for movement in device.contact.movements[-1:]:
                self.clock.restore_told(movement.business_us)
        journal.rewrite(list(self._snapshot()))

    def _replay(self, record: Mapping[str, Any]) -> None:
        kind = record["kind"]
        if kind == "clock":
            self.clock.restore(
                offset_us=record["offset_us"],
                since_us=record["since_us"],
                told_us=record["told_us"],
            )
        elif "meter" in record:
            device = self.devices.get(record["meter"])
            if device is None:
                self._foreign.append(record)
            else:
                device.replay(kind, record)
        elif record.get("concentrator") in self.concentrators:
            faults = self.concentrators[record["concentrator"]].faults
            if kind == "fault":
                faults.set(Fault.from_json(record))
            else:
                faults.clear(FaultKind(record["fault"]) if record["fault"] else None)
        else:
            self._foreign.append(record)

    def _snapshot(self) -> Iterable[Mapping[str, Any]]:
        # Settling moves contacts with the offsets that were valid when they fell due; only the
        # last offset matters afterwards.
        meters = [record for device in self.devices.values() for record in device.snapshot()]
        yield self._clock_record()
        for name, concentrator in self.concentrators.items():
            yield {"kind": "clear_fault", "concentrator": name, "fault": None}
            for fault in concentrator.faults:
                yield {**fault.to_json(), "kind": "fault", "concentrator": name}
        yield from meters
        yield from self._foreign

    def _record_clock(self) -> None:
        self._journal.append(self._clock_record())

    def _clock_record(self) -> dict[str, Any]:
        return {
            "kind": "clock",
            "offset_us": self.clock.offset_us,
            "since_us": self.clock.offset_since_us,
            "told_us": self.clock.told_us,
        }


def _set_first_faults(book: FaultBook, faults: Iterable[Mapping[str, Any]]) -> None:
    for values in faults:
        book.set(Fault.from_json(values))
