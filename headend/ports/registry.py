"""Port of the registry repository: what is where, who lives there, and how each meter is reached.

New records refer to each other by the names people know (numbers and codes, never ids), so that a
file can be stored in one pass. Keys arrive wrapped: the repository never sees one in the clear.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Protocol

from headend.domain.days import DEFAULT_ZONE
from headend.domain.reading import MeterIdentity


@dataclass(frozen=True, slots=True)
class NewArea:
    """An organisational area; ``parent_area_code`` must stand earlier or be stored already."""

    area_code: str
    name: str
    parent_area_code: str | None = None


@dataclass(frozen=True, slots=True)
class NewTransformerArea:
    """The customers behind one distribution transformer (台区)."""

    transformer_area_code: str
    name: str
    area_code: str


@dataclass(frozen=True, slots=True)
class NewUsagePoint:
    """Where energy is delivered."""

    usage_point_no: str
    transformer_area_code: str
    address: str
    time_zone: str = DEFAULT_ZONE
    expected_load_w: int = 1000


@dataclass(frozen=True, slots=True)
class NewConcentrator:
    """A concentrator and the endpoint of its link (a URL without secrets)."""

    concentrator_no: str
    endpoint: str


@dataclass(frozen=True, slots=True)
class NewMeter:
    """A device on the link at ``endpoint``, which its concentrator must share.

    ``system_title`` (8 octets) is what its pushes name it by; without one they are a stranger's.
    """

    meter_no: str
    endpoint: str
    link_address: int
    model: str
    logical_device_name: str
    serial: str
    concentrator_no: str | None = None
    client_address: int = 1
    authentication: str = "gmac"
    maximum_current_a: int = 100
    remote_close: bool = True
    closes_directly: bool = True
    system_title: bytes | None = None


@dataclass(frozen=True, slots=True)
class NewInstallation:
    """Which meter serves which usage point, from when."""

    meter_no: str
    usage_point_no: str
    valid_from: datetime
    multiplier: int = 1
    indication_start_wh: int | None = None
    link_confirmed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class NewAccount:
    """Who pays. ``account_no`` is the 户号; the tariff must be stored already."""

    account_no: str
    name: str = field(repr=False)
    tariff_code: str
    created_at: datetime
    phone: str | None = field(default=None, repr=False)
    customer_class: str = "residential"
    payment_mode: str = "prepaid"
    agreement_signed_at: datetime | None = None
    standing_close_consent_at: datetime | None = None
    emergency_credit_nano: int = 0


@dataclass(frozen=True, slots=True)
class NewOccupancy:
    """Which account is at which usage point, from which local day."""

    account_no: str
    usage_point_no: str
    valid_from: date


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A meter key encrypted under the key-encryption key ``kek_id``."""

    meter_no: str
    client_address: int
    key_id: str
    kind: str  # encryption | authentication | password | master
    wrapped_key: bytes = field(repr=False)
    kek_id: str


@dataclass(frozen=True, slots=True)
class RowProblem:
    """Why one row cannot be stored; ``row`` counts from 0 in the sequence given."""

    row: int
    field: str
    message: str


@dataclass(frozen=True, slots=True)
class StoredRows:
    """What became of a sequence: stored now, there already, or not storable."""

    inserted: int
    present: int
    problems: tuple[RowProblem, ...] = ()


@dataclass(frozen=True, slots=True)
class WrappedKeys:
    """The wrapped keys of one meter under one client address and key id, by kind."""

    kek_id: str
    by_kind: Mapping[str, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class MeterAccessRecord:
    """How one meter is reached, its keys still wrapped."""

    meter_id: int
    meter_no: str
    link_id: int
    link_address: int
    model: str
    client_address: int
    authentication: str
    identity: MeterIdentity
    keys: Mapping[str, WrappedKeys]  # by key id


@dataclass(frozen=True, slots=True)
class InstalledMeter:
    """A meter that serves a usage point, as collection needs to know it.

    ``served_from`` and ``served_to`` bound the installation, half-open; ``served_to`` is None while
    it stands. ``failures_in_row`` counts the runs since the meter was last heard.
    """

    access: MeterAccessRecord
    concentrator_id: int | None
    usage_point_id: int
    account_id: int | None
    time_zone: str
    multiplier: int
    maximum_current_a: int
    served_from: datetime
    served_to: datetime | None
    failures_in_row: int = 0


@dataclass(frozen=True, slots=True)
class InstalledDevice:
    """A meter that serves a usage point now, by the names that people know."""

    meter_no: str
    usage_point_no: str


class RegistryRepository(Protocol):
    """Stores places, devices, customers and links.

    Every ``add_`` is one bulk statement, keeps rows whose number exists already as they are, and
    reports rows that refer to something unknown or clash with another row.
    """

    async def add_areas(self, rows: Sequence[NewArea]) -> StoredRows: ...

    async def add_transformer_areas(self, rows: Sequence[NewTransformerArea]) -> StoredRows: ...

    async def add_usage_points(self, rows: Sequence[NewUsagePoint]) -> StoredRows: ...

    async def add_concentrators(self, rows: Sequence[NewConcentrator]) -> StoredRows: ...

    async def add_meters(self, rows: Sequence[NewMeter]) -> StoredRows: ...

    async def add_installations(self, rows: Sequence[NewInstallation]) -> StoredRows: ...

    async def add_accounts(self, rows: Sequence[NewAccount]) -> StoredRows: ...

    async def add_occupancies(self, rows: Sequence[NewOccupancy]) -> StoredRows: ...

    async def add_meter_keys(self, rows: Sequence[WrappedKey]) -> StoredRows:
        """Store keys; one that is there already is replaced by the one given."""
        ...

    async def meter_access(self, meter_id: int) -> MeterAccessRecord:
        """Return how to reach the meter; raises `NotFound`."""
        ...

    async def access_by_title(self, system_title: bytes) -> MeterAccessRecord | None:
        """Return how to reach the meter with this system title, None when there is none."""
        ...

    async def find_installed(self, identity: MeterIdentity, at: datetime) -> InstalledDevice | None:
        """Return the meter with this name or serial that is installed at or after an instant.

        An empty name or serial matches nothing.
        """
        ...

    async def installed_meter(self, meter_id: int, at: datetime) -> InstalledMeter | None:
        """Return the meter with the usage point it serves at ``at``; None when it serves none."""
        ...

    async def concentrator_meters(
        self, concentrator_id: int, since: datetime
    ) -> list[InstalledMeter]:
        """Return the meters behind the concentrator that served a usage point since ``since``.

        A meter that served several in that time appears once for each, in order of time.
        """
        ...

    async def concentrator_ids(self) -> list[int]:
        """Return every concentrator, in id order."""
        ...

    async def meter_ids(self, meter_nos: Collection[str]) -> dict[str, int]:
        """Return the ids of the meters that exist among ``meter_nos``."""
        ...
