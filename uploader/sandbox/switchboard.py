"""`/_sandbox/` on the control port: inspect and change the world while it runs.

- GET    /_sandbox/report   the counters of World.report()
- POST   /_sandbox/faults   a JSON list of faults, appended to the script
- DELETE /_sandbox/faults   forget all faults
- POST   /_sandbox/config   an object of Config switches, such as {"key_valid": false}
- POST   /_sandbox/models   a model made long ago: {"modelId": …, "model": {…}, "state": …}

Each needs `Authorization: Bearer TOKEN`, the `control_token` that the sandbox prints.
"""

from __future__ import annotations

from uploader.sandbox.seeding import seed_model
from uploader.sandbox.wire import Request, Response, Route, carries, json_response, read_json
from uploader.sandbox.world import World


def route(world: World, request: Request) -> Route:
    """Answer without faults or counting; a wrong fault or switch gives 400 with the reason."""
    if not carries(request, world.doors.control_token):
        refused = json_response(403, {"error": "this needs the sandbox's control_token"})
        return Route("sandbox", request.path, lambda _: refused)
    document = read_json(request)

    def answer(_: Request) -> Response:
        with world.lock:
            try:
                return _answer(world, request, document)
            except (TypeError, ValueError) as error:
                return json_response(400, {"error": str(error)})

    return Route("sandbox", request.path, answer)


def _answer(world: World, request: Request, document: object) -> Response:
    match request.method, request.path, document:
        case "GET", "/_sandbox/report", _:
            return json_response(200, world.report())
        case "POST", "/_sandbox/faults", list():
            world.script.add(document)
        case "DELETE", "/_sandbox/faults", _:
            world.script.clear()
        case "POST", "/_sandbox/models", dict():
            seed_model(world, document)
        case "POST", "/_sandbox/config", dict():
            world.config.change(document)
        case _:
            return json_response(404, {"error": "no such path, or not the JSON that it takes"})
    return json_response(200, {})
