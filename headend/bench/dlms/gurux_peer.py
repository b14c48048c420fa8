"""gurux-dlms as its user would use it: rows of numbers and datetimes, by its public interface."""

from __future__ import annotations

from gurux_dlms import GXByteBuffer, GXDLMSClient
from gurux_dlms.objects import (
    GXDLMSCaptureObject,
    GXDLMSClock,
    GXDLMSData,
    GXDLMSProfileGeneric,
    GXDLMSRegister,
)

from headend.bench.dlms.peers import Decode
from headend.bench.dlms.samples import CAPTURED
from headend.domain.obis import LOAD_PROFILE_1

_KINDS = {1: GXDLMSData, 3: GXDLMSRegister, 8: GXDLMSClock}


def parse(octets: bytes) -> object:
    """Return the rows with clocks left as octets."""
    return GXDLMSClient.getValue(GXByteBuffer(octets), False)


def make_decoder() -> Decode:
    """Return the decoding of a profile object that knows its columns: clocks become datetimes."""
    client, profile = GXDLMSClient(), GXDLMSProfileGeneric(str(LOAD_PROFILE_1))
    for each in CAPTURED:
        captured = GXDLMSCaptureObject(each.attribute, 0)
        profile.captureObjects.append((_KINDS[each.class_id](str(each.obis)), captured))

    def decode(octets: bytes) -> object:
        profile.buffer = []
        client.updateValue(profile, 2, parse(octets))
        return profile.buffer

    return decode
