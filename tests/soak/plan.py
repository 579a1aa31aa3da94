"""Everything a seed decides about a round: its jobs, their files, its faults, its disturbances."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uploader.sandbox.script import Fault, Script

KIB = 1 << 10
MIB = 1 << 20
GRANULE = 256 * KIB

#: What may happen in a round besides SIGKILL. If nothing else does, bytes that are sent again
#: are the price of the kills alone.
KINDS = ("kills", "network", "faults", "storm")
_ROUND_BYTES = 512 * MIB
#: A plain PUT starts over at each cut: large files would take for ever.
_LARGEST = {"resumable": 64 * MIB, "session": 64 * MIB, "put": 12 * MIB}
_EDGES = (GRANULE - 1, GRANULE, GRANULE + 1, 4 * GRANULE, 16 * GRANULE + 1)

#: Faults that let bytes the server has read count for nothing; a file they hit is left out of
#: what kills and cuts cost.
WASTEFUL = {"short-308", "no-range-308", "dead-session", "wrong-hash", "growing-ack"}


class Faults(Script):
    """The sandbox's script, which remembers what it broke."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed=seed)
        #: What was broken, and the names of the objects that had to be sent again for it.
        self.fired: list[str] = []
        self.wasted: set[str] = set()

    def take(self, on: str, name: str, chaos: float = 0.0) -> Fault | None:
        fault = super().take(on, name, chaos)
        if fault is not None:
            self.fired.append(f"{on} {fault.do}")
            if fault.do in WASTEFUL:
                self.wasted.add(name)
        return fault


@dataclass(frozen=True)
class ModelPlan:
    """A model to upload: file name → size, and the seed of their bytes."""

    model_id: str
    sizes: dict[str, int]
    seed: str

    def write(self, folder: Path) -> None:
        """The folder of a model that passes preflight."""
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"]}))
        (folder / "tokenizer.json").write_text(json.dumps({"version": "1.0"}))
        for name, size in self.sizes.items():
            dice = random.Random(f"{self.seed} {name}")
            with (folder / name).open("wb") as file:
                for start in range(0, size, MIB):
                    file.write(dice.randbytes(min(MIB, size - start)))


@dataclass(frozen=True)
class RoundPlan:
    number: int
    disturbances: str
    url_kind: str
    switches: dict[str, Any]
    faults: list[dict[str, Any]]
    models: list[ModelPlan]


class Planner:
    """The seed's choices, in order; nothing that processes do changes them."""

    def __init__(self, seed: int, largest: int) -> None:
        self._seed = seed
        self._largest = largest
        self._random = random.Random(f"soak {seed} rounds")
        self._rounds = 0

    def round(self) -> RoundPlan:
        dice, self._rounds = self._random, self._rounds + 1
        # Every kind in turn, so that a short soak sees each.
        disturbances = KINDS[(self._rounds + self._seed) % len(KINDS)]
        kinds = ("resumable",) if disturbances == "kills" else ("resumable", "session", "put")
        url_kind = dice.choices(kinds, (6, 2, 2)[: len(kinds)])[0]
        models = self._models(url_kind)
        faulty = disturbances in ("faults", "storm")
        switches = {
            "url_kind": url_kind,
            "url_keys": dice.choice(("name", "path")),
            "landing_polls": dice.randrange(4),
            "precondition_shape": dice.choice(("numeric", "named", "text", "http-412")),
            "chaos": dice.choice((0.02, 0.05, 0.1)) if faulty else 0.0,
        }
        faults = self._faults(models, url_kind) if faulty else []
        return RoundPlan(self._rounds, disturbances, url_kind, switches, faults, models)

    def _models(self, url_kind: str) -> list[ModelPlan]:
        left, models = _ROUND_BYTES, []
        for number in range(self._random.randint(3, 5)):
            model_id = f"soak-{self._rounds}-{number + 1}"
            sizes = {}
            for part in range(self._random.randint(3, 7)):
                size = min(self._size(_LARGEST[url_kind]), left)
                left -= size
                if size:
                    sizes[f"part-{part + 1:05}.bin"] = size
            if sizes:
                models.append(ModelPlan(model_id, sizes, f"soak {self._seed} {model_id}"))
        return models

    def _size(self, largest: int) -> int:
        """From 1 KiB up, as many small as large ones, and now and then a granule's edge."""
        dice, largest = self._random, min(largest, self._largest)
        if dice.random() < 0.15:
            return dice.choice(_EDGES)
        return int(KIB * (largest / KIB) ** dice.random() ** 0.6)

    def _faults(self, models: list[ModelPlan], url_kind: str) -> list[dict[str, Any]]:
        """A few scripted ones, each on another file: none is damaged often enough to fail."""
        dice = self._random
        files = [f"{model.model_id}/{name}" for model in models for name in model.sizes]
        dice.shuffle(files)
        wanted = [*_ON_FILES, *(_IN_SESSIONS if url_kind != "put" else ())]
        faults = [
            {**dice.choice(wanted), "match": file, "nth": dice.choice((1, 1, 2))}
            for file in files[: dice.randint(3, 8)]
        ]
        faults += [
            {**dice.choice(_ON_CONTROL), "match": dice.choice(models).model_id} for _ in range(3)
        ]
        return [_sized(dice, fault) for fault in faults]


_ON_FILES: tuple[dict[str, Any], ...] = (
    {"on": "put", "do": "cut"},
    {"on": "put", "do": "lost-answer"},
    {"on": "put", "do": "status", "status": 503, "retry_after": 1},
    {"on": "put", "do": "stall", "seconds": 3.0},
    {"on": "put", "do": "drip", "seconds": 0.004},
    {"on": "put", "do": "wrong-hash"},
)
_IN_SESSIONS: tuple[dict[str, Any], ...] = (
    {"on": "put", "do": "dead-session", "status": 410},
    {"on": "put", "do": "dead-session", "status": 404},
    {"on": "query", "do": "dead-session", "status": 410},
    {"on": "put", "do": "short-308"},
    {"on": "put", "do": "no-range-308"},
    {"on": "put", "do": "no-finish"},
    {"on": "query", "do": "growing-ack"},
    {"on": "query", "do": "status", "status": 503},
    {"on": "start", "do": "lost-answer"},
    {"on": "start", "do": "expired-url"},
)
_ON_CONTROL: tuple[dict[str, Any], ...] = (
    {"on": "create", "do": "lost-answer"},
    {"on": "create", "do": "malformed-json"},
    {"on": "urls", "do": "status", "status": 429, "retry_after": 1},
    {"on": "urls", "do": "malformed-json"},
    {"on": "validate", "do": "status", "status": 503},
    {"on": "validate", "do": "lost-answer"},
    {"on": "get", "do": "reset-before"},
)


def _sized(dice: random.Random, fault: dict[str, Any]) -> dict[str, Any]:
    places = {"cut", "stall", "short-308", "growing-ack"}
    return {**fault, "at_byte": dice.randrange(4 * MIB)} if fault["do"] in places else fault
