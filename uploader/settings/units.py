"""Sizes, rates and durations as people write them (docs/configuration.md)."""

from __future__ import annotations

import re
from decimal import Decimal

_SIZE = re.compile(r"(\d{1,20}(?:\.\d{1,9})?)\s*(?:([kKMGT])(i?)B|B)?", re.ASCII)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)\s*(ms|min|[smhd])\s*", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def parse_size(value: object) -> int:
    """Bytes from 262144, "64MiB", "1.5 GB"; raises ValueError."""
    if type(value) is int:
        return value
    found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise ValueError('write a size like "64MiB" (powers of 1024) or "64MB" (of 1000)')
    unit = (1024 if found[3] else 1000) ** _POWERS[(found[2] or "").upper()]
    return int(Decimal(found[1]) * unit)


def parse_rate(value: object) -> int | None:
    """Bytes per second from "20MB/s", None from "off"; raises ValueError, also for 0."""
    text = value.strip().removesuffix("/s") if isinstance(value, str) else value
    if text == "off":
        return None
    try:
        rate_bps = parse_size(text)
    except ValueError:
        rate_bps = 0
    if rate_bps <= 0:
        raise ValueError('write a rate like "20MB/s", or "off"')
    return rate_bps


def parse_duration(value: object) -> float:
    """Seconds from 30, "30s", "500ms", "1h30m"; raises ValueError."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    text = value.strip() if isinstance(value, str) else ""
    if text.isdecimal():
        return float(text)
    parts = _DURATION.findall(text)
    if not parts or _DURATION.sub("", text):
        raise ValueError('write a duration like "30s", "90min" or "1h30m"')
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)
