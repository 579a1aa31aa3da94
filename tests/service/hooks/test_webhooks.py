"""Webhooks and pings: signed, told by their paths, and sent only where they may go."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from standardwebhooks.webhooks import Webhook

from tests.service.hooks.conftest import Lab, Receiver, tell_all
from uploader.cli import app
from uploader.core.events import EventKind
from uploader.remote.webhook import may_reach


def test_a_webhook_is_signed_by_each_secret_and_keeps_its_id_on_retries(
    lab: Lab, receiver: Receiver, tmp_path: Path
) -> None:
    secrets = ["whsec_" + base64.b64encode(bytes([n]) * 24).decode() for n in (1, 2)]
    files = [tmp_path / f"secret{n}" for n in (1, 2)]
    for file, secret in zip(files, secrets, strict=True):
        file.write_text(f"{secret}\n")
    lab.clock.at = datetime.now(UTC)
    hooks = lab.configure(
        {"name": "h", "on": ["ready"], "webhook": receiver.url, "secret_file": [*map(str, files)]}
    )
    lab.fill(hooks)
    lab.happen(EventKind.READY)
    lab.fill(hooks)
    receiver.answers = [(500, {})]
    tell_all(hooks)
    lab.clock.at += timedelta(minutes=1)
    tell_all(hooks)
    (_, _, first, body), (_, _, second, again) = receiver.got
    assert (first["webhook-id"], body) == (second["webhook-id"], again)
    assert first["webhook-signature"] != second["webhook-signature"]
    for secret in secrets:
        assert Webhook(secret).verify(again, second)["data"]["id"] == 1
    assert json.loads(body).keys() == {"type", "timestamp", "data"}


def test_410_switches_a_hook_off_until_retry(
    lab: Lab, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    hooks = lab.configure({"name": "h", "on": ["ready"], "webhook": receiver.url})
    lab.fill(hooks)
    lab.happen(EventKind.READY, EventKind.READY)
    lab.fill(hooks)
    receiver.answers = [(410, {})]
    tell_all(hooks)
    lab.happen(EventKind.READY)
    lab.fill(hooks)
    tell_all(hooks)
    assert len(receiver.got) == 1
    config = str(lab.root / "config.toml")
    capsys.readouterr()
    assert app.run(["--config", config, "hooks", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["hooks"][0]["off"] is True
    assert app.run(["--config", config, "hooks", "retry", "h"]) == 0
    lab.happen(EventKind.READY)
    lab.fill(hooks)
    tell_all(hooks)
    assert len(receiver.got) == 2


@pytest.mark.parametrize("query", ["", "?create=1", "#part"])
def test_a_ping_says_start_success_and_failure(lab: Lab, receiver: Receiver, query: str) -> None:
    hooks = lab.configure(
        {
            "name": "h",
            "on": ["started", "ready", "needs_human", "healed"],
            "ping": f"{receiver.url}/uuid{query}",
        }
    )
    lab.fill(hooks)
    lab.happen(
        EventKind.CREATED, EventKind.BLOCKED, EventKind.HEALED, EventKind.FAILED, EventKind.READY
    )
    lab.fill(hooks)
    tell_all(hooks)
    told = ["/uuid/start", "/uuid/fail", "/uuid/start", "/uuid/fail", "/uuid"]
    assert [path for _, path, _, _ in receiver.got] == [
        path + query.partition("#")[0] for path in told
    ]
    assert not [body for *_, body in receiver.got if body.rstrip().endswith(b":")]


@pytest.mark.parametrize(
    "address",
    [
        "10.1.2.3",
        "192.168.0.1",
        "169.254.169.254",
        "fe80::1%eth0",
        "fd00::1",
        "::ffff:10.0.0.1",
        "0.0.0.0",
        "100.64.0.1",
        "nonsense",
        "64:ff9b::a9fe:a9fe",
        "2002:a00:1::1",
        "::10.0.0.1",
        "::",
        "224.0.0.1",
        "ff0e::1",
        "192.0.0.192",
        "64:ff9b:1::a9fe:a9fe",
        "::ffff:0:a9fe:a9fe",
        "fec0::1",
    ],
)
def test_private_and_link_local_addresses_are_reached_only_if_allowed(address: str) -> None:
    assert not may_reach(address, private=False)
    assert may_reach(address, private=True) is (address != "nonsense")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "::1", "::ffff:127.0.0.1", "93.184.216.34", "2606:4700::1111",
        "64:ff9b::5db8:d822",
    ],
)  # fmt: skip
def test_public_addresses_and_this_machine_are_reached(address: str) -> None:
    assert may_reach(address, private=False)


def test_a_private_receiver_is_refused_before_anything_is_sent(lab: Lab) -> None:
    hooks = lab.configure({"name": "h", "on": ["ready"], "webhook": "https://10.255.255.1/x"})
    lab.fill(hooks)
    lab.happen(EventKind.READY)
    lab.fill(hooks)
    tell_all(hooks)
    assert "allow_private" in (lab.outbox.states(["h"])[0].last_error or "")
