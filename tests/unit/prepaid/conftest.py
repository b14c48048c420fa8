"""A tariff document that every test may take apart."""

from __future__ import annotations

from typing import Any

import pytest

from prepaid.tariff import Tariff
from prepaid.tariff_document import parse_tariff


@pytest.fixture
def tariff_document() -> dict[str, Any]:
    """Two seasons, weekday and weekend patterns, three tiers by year; a fresh copy each time."""
    return {
        "code": "demo-tou",
        "name": {"zh": "居民峰谷", "en": "Residential TOU"},
        "source": "made up for tests",
        "zone": "Asia/Shanghai",
        "versions": [
            {
                "effective_from": "2025-01-01",
                "seasons": [
                    {
                        "from": "06-01",
                        "to": "09-30",
                        "day_types": {
                            "weekday": [
                                ["00:00", "08:00", "valley"],
                                ["08:00", "18:00", "peak"],
                                ["18:00", "20:00", "sharp"],
                                ["20:00", "22:00", "peak"],
                                ["22:00", "24:00", "valley"],
                            ],
                            "weekend": [
                                ["00:00", "08:00", "valley"],
                                ["08:00", "22:00", "peak"],
                                ["22:00", "24:00", "valley"],
                            ],
                        },
                    },
                    {
                        "from": "10-01",
                        "to": "05-31",
                        "day_types": {
                            "every_day": [
                                ["00:00", "08:00", "valley"],
                                ["08:00", "22:00", "peak"],
                                ["22:00", "24:00", "valley"],
                            ]
                        },
                    },
                ],
                "prices_micro_yuan_per_kwh": {
                    "sharp": "0.8",
                    "peak": "0.568",
                    "valley": "0.288123",
                },
                "tiers": {
                    "cycle": "year",
                    "cycle_start": "01-01",
                    "steps": [
                        {"up_to_kwh": 2760},
                        {"up_to_kwh": 4800, "surcharge_micro_yuan_per_kwh": "0.05"},
                        {"up_to_kwh": None, "surcharge_micro_yuan_per_kwh": 300000},
                    ],
                },
                "fixed_charges": [
                    {
                        "code": "basic",
                        "name": {"zh": "基本费", "en": "Standing charge"},
                        "per": "month",
                        "yuan": "10.00",
                    },
                    {
                        "code": "meter",
                        "name": {"zh": "表计费", "en": "Meter rent"},
                        "per": "day",
                        "yuan": "0.02",
                    },
                ],
            }
        ],
    }


@pytest.fixture
def tariff(tariff_document: dict[str, Any]) -> Tariff:
    """The document above as values."""
    return parse_tariff(tariff_document)
