"""The limits in force as people read them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from uploader.core.job import Job, Stage, Status
from uploader.core.limit_documents import LimitsJson
from uploader.core.limits import Move
from uploader.core.text import size


def rate_now(limits: LimitsJson) -> str:
    """``19.1 MiB/s until Mon 19:00 CET (UTC+01:00)``: what a timetable says now, else empty."""
    bandwidth = limits["bandwidth"]
    if bandwidth["until"] is None:
        return ""
    rate_bps = bandwidth["rate_bps"]
    rate = "off" if rate_bps is None else f"{size(rate_bps)}/s"
    until = datetime.fromisoformat(bandwidth["until"]).astimezone()
    zone = until.strftime("%z")
    return f"{rate} until {until:%a %H:%M %Z} (UTC{zone[:3]}:{zone[3:]})"


def limits_line(limits: LimitsJson) -> str:
    """``limits: bandwidth 20MB/s, files 3``: what differs from the defaults; may be empty."""
    bandwidth, parts = limits["bandwidth"], []
    if bandwidth["value"] != "off" or bandwidth["origin"] == "limit":
        now = rate_now(limits)
        parts.append(f"bandwidth {bandwidth['value']}" + (f" (now {now})" if now else ""))
    parts += [f"files {limits['files']['value']}"] * (limits["files"]["origin"] == "limit")
    parts += [f"jobs {limits['jobs']['value']}"] * (limits["jobs"]["origin"] == "limit")
    return f"limits: {', '.join(parts)}" if parts else ""


def held_back(job: Job, limits: LimitsJson, moves: Sequence[Move]) -> list[str]:
    """What limits a job that is uploading, and what its worker found out, in whole sentences."""
    if job.stage is not Stage.UPLOAD or job.status is not Status.ACTIVE:
        return []
    line = limits_line(limits)
    found = moves_line(moves) if limits["files"]["value"] == "auto" else ""
    return [*([f"{line[0].upper()}{line[1:]}."] if line else []), *([found] if found else [])]


def moves_line(moves: Sequence[Move]) -> str:
    """What the worker of a job found out about the number of files, in one sentence."""
    if not moves:
        return ""
    found = f"{moves[-1].files} file{'s' * (moves[-1].files != 1)}"
    lately = "; ".join(move.message for move in moves)
    return f"Its worker sends up to {found} at once, as it found by trying: {lately}."
