"""A meter served by `gurux-dlms`' server class over WRAPPER: its encodings, blocks and refusals.

The release of that class under test cannot serve HLS (it writes a wrong length into the AARE), nor
its own object list, and refuses an absent object under another invoke-id: it stands for meters that
answer only part of what is asked, and some of it oddly.
"""

from __future__ import annotations

import contextlib
import datetime
import socket
import threading
from typing import Any

from gurux_dlms import GXDateTime
from gurux_dlms.enums import (
    AccessMode,
    Authentication,
    Conformance,
    DataType,
    InterfaceType,
    MethodAccessMode,
    SourceDiagnostic,
    Unit,
)
from gurux_dlms.GXDLMSServer import GXDLMSServer
from gurux_dlms.GXServerReply import GXServerReply
from gurux_dlms.objects import (
    GXDLMSAssociationLogicalName,
    GXDLMSClock,
    GXDLMSData,
    GXDLMSDemandRegister,
    GXDLMSDisconnectControl,
    GXDLMSExtendedRegister,
    GXDLMSProfileGeneric,
    GXDLMSRegister,
)
from gurux_dlms.objects.enums import ControlMode, ControlState

NOON = datetime.datetime(2026, 3, 1, 12, 0, tzinfo=datetime.UTC)
MIDNIGHT = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
ROWS = 100


class _Reply(GXServerReply):  # type: ignore[misc]
    def setReply(self, value: Any) -> None:  # noqa: N802  (their names)
        self.reply = value

    def getConnectionInfo(self) -> None:  # noqa: N802
        return None


class GuruxMeter(GXDLMSServer):  # type: ignore[misc]
    """Listens on a free port of 127.0.0.1; ``password`` makes it demand LLS."""

    def __init__(self, password: bytes | None = None) -> None:
        super().__init__(True, InterfaceType.WRAPPER)
        self._password = password
        self.conformance = (
            Conformance.GET
            | Conformance.SET
            | Conformance.ACTION
            | Conformance.BLOCK_TRANSFER_WITH_GET_OR_READ
            | Conformance.MULTIPLE_REFERENCES
        )
        self._fill()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _fill(self) -> None:
        name = GXDLMSData("0.0.42.0.0.255")
        name.value = "GRX0000000000001"
        energy = GXDLMSRegister("1.0.1.8.0.255")
        energy.value, energy.scaler, energy.unit = 12345, 10, Unit.ACTIVE_ENERGY
        energy.setDataType(2, DataType.UINT32)
        voltage = GXDLMSRegister("1.0.32.7.0.255")
        voltage.value, voltage.scaler, voltage.unit = 2305, 0.1, Unit.VOLTAGE
        voltage.setDataType(2, DataType.UINT16)
        maximum = GXDLMSExtendedRegister("1.0.1.6.0.255")
        maximum.value, maximum.scaler, maximum.unit = 77, 1, Unit.ACTIVE_POWER
        maximum.status, maximum.captureTime = 0, GXDateTime(NOON)
        maximum.setDataType(2, DataType.UINT32)
        demand = GXDLMSDemandRegister("1.0.1.4.0.255")
        demand.currentAverageValue, demand.scaler, demand.unit = 500, 1, Unit.ACTIVE_POWER
        demand.captureTime = demand.startTimeCurrent = GXDateTime(NOON)
        demand.setDataType(2, DataType.UINT32)
        clock = GXDLMSClock("0.0.1.0.0.255")
        clock.time = GXDateTime(NOON)
        relay = GXDLMSDisconnectControl("0.0.96.3.10.255")
        relay.outputState, relay.controlState = True, ControlState.CONNECTED
        relay.controlMode = ControlMode.MODE_4
        profile = GXDLMSProfileGeneric("1.0.99.1.0.255")
        profile.capturePeriod, profile.entriesInUse, profile.profileEntries = 900, ROWS, ROWS
        for captured in (clock, energy, voltage):
            profile.addCaptureObject(captured, 2, 0)
        quarter = datetime.timedelta(minutes=15)
        profile.buffer += [
            [GXDateTime(MIDNIGHT + row * quarter), 1000 + row, 2300 + row] for row in range(ROWS)
        ]
        association = GXDLMSAssociationLogicalName()
        for each in (name, energy, voltage, maximum, demand, clock, relay, profile):
            self.items.append(each)
            association.objectList.append(each)
        self.items.append(association)
        self.initialize()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.reset()
                with connection, contextlib.suppress(OSError):
                    while received := connection.recv(65536):
                        self._answer(connection, received)

    def _answer(self, connection: socket.socket, received: bytes) -> None:
        reply = _Reply(bytearray(received))
        # What it fails over stays unanswered, as in meters that restart.
        with contextlib.suppress(AttributeError, TypeError, ValueError):
            self.handleRequest(reply)
        if reply.reply:
            connection.sendall(bytes(reply.reply))

    # --- what the base class asks its user ---

    def isTarget(self, _server: int, _client: int) -> bool:  # noqa: N802
        return True

    def onValidateAuthentication(self, authentication: Any, password: Any) -> Any:  # noqa: N802
        if self._password is None:
            return SourceDiagnostic.NONE
        if authentication != Authentication.LOW:
            return SourceDiagnostic.AUTHENTICATION_MECHANISM_NAME_REQUIRED
        right = bytes(password or b"") == self._password
        return SourceDiagnostic.NONE if right else SourceDiagnostic.AUTHENTICATION_FAILURE

    def onGetAttributeAccess(self, _arguments: Any) -> Any:  # noqa: N802
        return AccessMode.READ_WRITE

    def onGetMethodAccess(self, _arguments: Any) -> Any:  # noqa: N802
        return MethodAccessMode.ACCESS

    def onFindObject(self, *_arguments: Any) -> None:  # noqa: N802
        return None

    def _do_nothing(self, *_arguments: Any) -> None:
        return None

    onPreGet = onPostGet = onPreRead = onPostRead = onPreWrite = onPostWrite = _do_nothing  # noqa: N815
    onPreAction = onPostAction = onConnected = onDisconnected = _do_nothing  # noqa: N815
    onInvalidConnection = notifyRead = _do_nothing  # noqa: N815

    def setTransaction(self, value: Any) -> None:  # noqa: N802
        self.transaction = value

    def getTransaction(self) -> Any:  # noqa: N802
        return self.transaction
