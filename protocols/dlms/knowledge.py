"""What an adapter has learnt about meters: capture objects, scalers, absent objects.

Kept per model where all its meters are alike, else per meter; bounded, and never wrong for long:
a meter whose rows do not fit is read anew after `forget`.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from headend.domain.obis import Obis
from protocols.dlms.meter_model import MeterModel
from protocols.dlms.profile_rows import ProfileColumns
from protocols.dlms.units import ScalerUnit

MAX_ENTRIES = 20_000


@dataclass(slots=True)
class Knowledge:
    """Answers of a meter that do not change from one session to the next."""

    scalers: dict[Obis, ScalerUnit] = field(default_factory=dict)
    columns: dict[Obis, ProfileColumns] = field(default_factory=dict)
    absent: set[Obis] = field(default_factory=set)
    wants_general_blocks: bool = False  # it has no blocks for GET: general ones are proposed too


class KnowledgeBase:
    """What is known of each model or meter."""

    def __init__(self) -> None:
        self._entries: OrderedDict[tuple[str, int], Knowledge] = OrderedDict()

    def of(self, model: MeterModel, meter_id: int) -> Knowledge:
        """Return the knowledge about a meter, new and empty at first."""
        key = (model.name, -1 if model.uniform else meter_id)
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = Knowledge()
            if len(self._entries) > MAX_ENTRIES:
                self._entries.popitem(last=False)
        return entry

    def forget(self, model: MeterModel, meter_id: int) -> None:
        """Drop what is known, so that it is read anew."""
        self._entries.pop((model.name, -1 if model.uniform else meter_id), None)
