"""What the file names in a model folder mean (docs/fireworks.md §6)."""

from __future__ import annotations

from enum import IntEnum
from fnmatch import fnmatchcase

#: The files of an adapter; the service rejects any other (docs/fireworks.md §0.9, §13.18).
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
ADAPTER_FILES = (ADAPTER_CONFIG, *ADAPTER_WEIGHTS, "fireworks.json")

#: What tools append to the name of a file that is still being downloaded.
PARTIAL = ("*.incomplete", "*.part", "*.partial", "*.crdownload", "*.aria2", "*.download", "*.tmp")

#: A name's first matching pattern says why it is left out (docs/fireworks.md §6).
LEFTOVERS: tuple[tuple[str, str], ...] = (
    (".git*", "belongs to git"),
    (".*", "hidden"),
    *(
        (glob, "a leftover of training")
        for glob in (
            "optimizer*.pt",
            "optimizer*.bin",
            "scheduler*.pt",
            "scheduler*.bin",
            "scaler.pt",
            "trainer_state.json",
            "training_args.*",
            "rng_state*.pth",
            "random_states_*.pkl",
            "events.out.tfevents.*",
            "*.distcp",
            "zero_pp_rank_*",
            "mp_rank_*_model_states.pt",
            "sampler*.bin",
            "dl_state_dict.bin",
            "custom_checkpoint_*.pkl",
        )
    ),
    *((glob, "a leftover of a download") for glob in ("*.lock", "*.metadata", *PARTIAL)),
    *(
        (glob, "left by a system, an editor or a sync tool")
        for glob in (
            *("[Dd]esktop.ini", "[Tt]humbs.db", "ehthumbs.db", "Icon\r", "*:Zone.Identifier"),
            *("*:com.dropbox.*", "*.sync-conflict-*", "*conflicted copy*", "*.nfs????*"),
            *("*~", "~$*", "#*#", "*.bak", "*.orig", "*.rej", "*.swp", "*.swo", "*.pyc"),
        )
    ),
    *(
        (glob, "output of a program that ran here")
        for glob in ("nohup.out", "slurm-*.out", "core.[0-9]*", "*.log", "*.pid", "*.prof")
    ),
    *(
        (glob, "weights in a format Fireworks does not read")
        for glob in (
            "*.gguf",
            "openvino_*.bin",
            "*.onnx",
            "*.onnx_data",
            "*.h5",
            "*.msgpack",
            "*.ckpt",
            "*.ot",
            "*.tflite",
            "*.pth",
            "*.pt",
        )
    ),
)


class Role(IntEnum):
    """What a file is for; the order is the order of sending (docs/fireworks.md §6)."""

    CONFIG = 0
    GENERATION = 1
    TOKENIZER = 2
    INDEX = 3
    OTHER = 4
    WEIGHTS = 5


_ROLES: tuple[tuple[str, Role], ...] = (
    ("config.json", Role.CONFIG),
    (ADAPTER_CONFIG, Role.CONFIG),
    ("generation_config.json", Role.GENERATION),
    ("tokenizer*", Role.TOKENIZER),
    ("vocab.*", Role.TOKENIZER),
    ("merges.txt", Role.TOKENIZER),
    ("tekken.json", Role.TOKENIZER),
    ("*.tiktoken", Role.TOKENIZER),
    ("*.model", Role.TOKENIZER),
    ("*.safetensors.index.json", Role.INDEX),
    ("*.bin.index.json", Role.INDEX),
    ("*.safetensors", Role.WEIGHTS),
    ("*.bin", Role.WEIGHTS),
)

#: Files that contain a tokenizer; its settings (tokenizer_config.json) and copies do not count. No
#: pattern matches a .json, which would be read under any number of names.
TOKENIZERS = (
    *("tokenizer.json", "tokenizer.model", "tokenizer.model.v[0-9]*[0-9]", "tekken.json"),
    *("tokenizer.model.v[0-9]", "*.tiktoken", "*.model", "*.spm", "vocab.json", "vocab.txt"),
    *("vocab.bpe", "bpe.codes", "dict.txt"),
)
#: Names that keys and passwords usually have; compared in lower case.
_SECRETS = (
    *("*.pem", "*.key", "*.p12", "*.pfx", "*.ppk", "*.jks", "*.keystore", "*.kdbx", "*.gpg"),
    *("id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "authorized_keys", "auth.ini"),
    *("*credential*", "secret*", "*_secret.*", "*service[-_]account*.json", "kaggle.json"),
    *(".env*", "*.env", "env.local", ".netrc", "_netrc", ".pgpass", ".htpasswd", ".npmrc"),
    *(".pypirc", "hf_token*", "*api_key*", "*apikey*", "passwords*", ".git-credentials"),
)

#: Files that loaders or the service read although their role does not show it.
_READ_TOO = frozenset(
    {
        "added_tokens.json",
        "chat_template.jinja",
        "chat_template.json",
        "fireworks.json",
        "merges.txt",
        "preprocessor_config.json",
        "processor_config.json",
        "special_tokens_map.json",
        "tokenizer_config.json",
        "video_preprocessor_config.json",
    }
)


def needed(name: str) -> bool:
    """Whether a model is broken without a file of this name.

    Copies, such as tokenizer_old.json, are sent early and read by nobody.
    """
    if role(name) in (Role.OTHER, Role.TOKENIZER):
        return name in _READ_TOO or is_tokenizer(name)
    return True


def role(name: str) -> Role:
    """What a file of this name is for in a model, by the name alone."""
    return next((role for glob, role in _ROLES if fnmatchcase(name, glob)), Role.OTHER)


def is_tokenizer(name: str) -> bool:
    """Whether a tokenizer can be read from a file of this name."""
    return matches(name, TOKENIZERS)


def looks_secret(name: str) -> bool:
    """Whether a file of this name usually holds a key or a password."""
    return matches(name.lower(), _SECRETS)


def leftover(name: str) -> str | None:
    """Why a file of this name is left out by default, None if it is sent."""
    return next((why for glob, why in LEFTOVERS if fnmatchcase(name, glob)), None)


def partial(name: str) -> str | None:
    """The name that a running download will have in the end; None for any other name."""
    return name.rpartition(".")[0] if matches(name, PARTIAL) else None


def matches(name: str, globs: tuple[str, ...]) -> bool:
    """Whether one of the ``globs`` matches the name; upper case differs from lower case."""
    return any(fnmatchcase(name, glob) for glob in globs)
