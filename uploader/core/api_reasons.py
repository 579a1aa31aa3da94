"""Why the HTTP API refuses a request: the codes of its own, beside those of `reasons.py`."""

from __future__ import annotations

from uploader.core.coded import Coded, Made


class ApiCode(Coded):
    """Why a request is refused before any job is looked at. No job is concerned."""

    UNAUTHORIZED = (
        "unauthorized",
        None,
        "The request has neither the API's token nor the page's cookie.",
        "send the content of STATE_DIR/api.token as Authorization, or open `uploader dashboard`",
    )
    LINK_USED = (
        "link_used",
        None,
        "The link to the page was used before, or is too old.",
        "`uploader dashboard` makes another one",
    )
    FOREIGN_HOST = (
        "foreign_host",
        None,
        "The Host of the request is not a name of this API.",
        "open the page by its address, or add the name to api.hosts",
    )
    FOREIGN_ORIGIN = (
        "foreign_origin",
        None,
        "The request comes from another page.",
        "send it from the page of this API, or without an Origin",
    )
    OUTSIDE_ROOTS = (
        "outside_roots",
        None,
        "The folder, or a link in it, is not below a folder of api.roots.",
        "add its folder to api.roots, or use `uploader enqueue` on that machine",
    )
    TOO_LARGE = "too_large", None, "The body of the request is too large.", "send less"
    TOO_FAST = (
        "too_fast",
        None,
        "There are more requests than the API answers.",
        "wait for the seconds that Retry-After names",
    )
    FOLDER_SILENT = (
        "folder_silent",
        None,
        "The disk of the folder does not answer.",
        "see whether the disk or the file server is there, then ask again",
    )
    NOT_JSON = (
        "not_json",
        None,
        "The body of the request is not JSON.",
        "send JSON with `Content-Type: application/json`",
    )
    WRONG_METHOD = (
        "wrong_method",
        None,
        "The path does not take this method.",
        Made("which methods it takes"),
    )
