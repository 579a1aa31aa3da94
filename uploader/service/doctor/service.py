"""The network and the account: names, addresses, TLS, the clock, and what the key may do."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

from uploader import wiring
from uploader.core.doctor_documents import Check, Health
from uploader.core.errors import RemoteError, UploaderError, UsageError
from uploader.core.text import duration, size
from uploader.intake.forecast import measured
from uploader.remote import reach
from uploader.settings.schema import Settings

_OFF_S, _WRONG_S = 30.0, 300.0
_DAY_S = 86400.0


def checks(settings: Settings, store: wiring.Store) -> Iterator[Check]:
    """Those that ask the network, then the service."""
    url = settings.fireworks.base_url
    try:
        proxy = reach.proxy_of(url)
    except reach.NoProxy:
        words = "what the environment names as the proxy is not the address of one"
        yield Check("proxy", Health.FAIL, words, "write HTTPS_PROXY=http://HOST:PORT")
        return
    yield Check("proxy", Health.OK, f"{proxy} is used" if proxy else "none is used")
    try:
        tls = wiring.trust(settings)
    except UsageError as problem:
        yield Check("ca_bundle", Health.FAIL, problem.message, problem.hint)
        return
    bundle = settings.fireworks.ca_bundle
    yield Check("ca_bundle", Health.OK, str(bundle) if bundle else "the machine's and Mozilla's")
    if proxy:
        yield Check("dns", Health.OK, "left to the proxy")
    else:
        yield from _direct(url, tls)
    yield _clock(settings)
    yield _account(settings)
    yield _rate(store)


def _direct(url: str, tls: ssl.SSLContext) -> Iterator[Check]:
    try:
        found = [*reach.places(url)]
    except OSError as problem:
        hint = "check the name in fireworks.base_url, and this machine's resolver"
        yield Check("dns", Health.FAIL, f"the name is not known: {problem.strerror}", hint)
        return
    counts = ", ".join(f"{place.count} of {place.family}" for place in found)
    yield Check("dns", Health.OK, f"addresses: {counts}")
    answers = any(not place.refused for place in found)
    for place in found:
        if place.refused:
            status = Health.WARN if answers else Health.FAIL
            words = f"{place.family} does not answer: {place.refused}"
            hint = "uploader uses the other one" if answers else "check route and firewall"
            yield Check(place.family.lower(), status, words, hint)
        else:
            yield Check(place.family.lower(), Health.OK, "answers")
    if answers and url.startswith("https:"):
        yield _tls(url, tls)


def _tls(url: str, tls: ssl.SSLContext) -> Check:
    try:
        found = reach.secured(url, tls)
    except ssl.SSLCertVerificationError as problem:
        hint = "a middle box? give its authority as fireworks.ca_bundle"
        return Check("tls", Health.FAIL, f"not trusted: {problem.verify_message}", hint)
    except OSError as problem:
        return Check("tls", Health.FAIL, f"no TLS: {problem.strerror or problem}", "check the port")
    left_s = (found.until - wiring.clock().now()).total_seconds()
    words = f"{found.version}, HTTP/1.1, issued by {found.issuer}, holds for {duration(left_s)}"
    if left_s < _DAY_S:
        return Check("tls", Health.WARN, words, "the certificate is about to end")
    return Check("tls", Health.OK, words)


def _clock(settings: Settings) -> Check:
    try:
        theirs = wiring.server_time(settings)
    except UploaderError as problem:
        return Check("reachability", Health.FAIL, problem.message, problem.hint)
    if theirs is None:
        return Check("clock", Health.WARN, "the server does not say what time it is", "")
    off_s = abs((theirs - wiring.clock().now()).total_seconds())
    words = f"within {duration(max(1.0, off_s))} of the server's"
    if off_s < _OFF_S:
        return Check("clock", Health.OK, words)
    status = Health.FAIL if off_s > _WRONG_S else Health.WARN
    return Check("clock", status, f"{duration(off_s)} off the server's", "set the clock (NTP)")


def _account(settings: Settings) -> Check:
    wanted = settings.fireworks.account_id
    try:
        service = wiring.service(settings)
        try:
            found = service.account()
        finally:
            service.close()
    except RemoteError as problem:
        return Check("account", Health.FAIL, problem.message, problem.hint)
    except UploaderError as problem:
        return Check("account", Health.FAIL, problem.message, problem.hint)
    if wanted and wanted != found:
        hint = f"set FIREWORKS_ACCOUNT_ID={found}, or use a key of {wanted}"
        return Check("account", Health.FAIL, f"the key is of {found}, not of {wanted}", hint)
    return Check("account", Health.OK, f"the key is of {found}")


def _rate(store: wiring.Store) -> Check:
    """What earlier uploads reached: without a model there is no URL to measure with."""
    jobs = store.glimpse()
    ahead = measured(jobs) if jobs else None
    if ahead is None:
        return Check("throughput", Health.OK, "not known: nothing was uploaded yet")
    return Check(
        "throughput", Health.OK, f"{size(ahead.rate_bps)}/s, {ahead.because}, with its pauses"
    )
