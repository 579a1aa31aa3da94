"""What a folder says, for a request, without a word printed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.model.build import BASE, LORA, folder, without
from uploader.core.errors import NotFound, UsageError
from uploader.core.job import Kind
from uploader.intake.inspect import FolderRefused, Inspection, inspect_folder
from uploader.intake.request import EnqueueRequest


def inspected(root: Path, files: dict[str, bytes], **options: Any) -> Inspection:
    return inspect_folder(EnqueueRequest(folder(root / "model", files), **options))


def errors(seen: Inspection) -> list[str]:
    return [found.check for found in seen.findings if found.severity == "error"]


def test_a_sound_folder_has_no_errors_and_says_why_it_is_of_its_kind(tmp_path: Path) -> None:
    seen = inspected(tmp_path, BASE)
    assert (seen.kind, seen.because) == (Kind.BASE, "architectures: LlamaForCausalLM")
    assert errors(seen) == []
    assert seen.what == "a base model"


def test_the_kind_that_somebody_names_counts(tmp_path: Path) -> None:
    request = EnqueueRequest(folder(tmp_path / "model", BASE))
    seen = inspect_folder(request, (Kind.EMBEDDING, "`kind` embedding"))
    assert (seen.kind, seen.because) == (Kind.EMBEDDING, "`kind` embedding")
    assert seen.what == "an embedding model"


def test_an_adapter_is_narrowed_to_its_own_files(tmp_path: Path) -> None:
    seen = inspected(tmp_path, {**LORA, "README.md": b"x"})
    assert seen.kind is Kind.LORA
    assert {file.path for file in seen.manifest.files} == set(LORA)
    assert [left.path for left in seen.left_out] == ["README.md"]


def test_every_error_is_found_at_once_and_counted(tmp_path: Path) -> None:
    seen = inspected(tmp_path, {**without(BASE, "config.json"), "model.safetensors": b"short"})
    assert {"config_json", "safetensors_size"} <= {*errors(seen)}
    assert seen.errors == len(errors(seen))
    assert seen.counts.startswith(f"{seen.errors} errors")


def test_what_is_allowed_becomes_a_warning(tmp_path: Path) -> None:
    seen = inspected(tmp_path, without(BASE, "config.json"), allow=("config_json",))
    assert "config_json" not in errors(seen)
    assert ("config_json", "warning") in {(one.check, one.severity) for one in seen.findings}


def test_without_preflight_no_file_is_looked_into(tmp_path: Path) -> None:
    seen = inspected(tmp_path, {**BASE, "model.safetensors": b"short"}, no_preflight=True)
    assert seen.findings == ()


@pytest.mark.parametrize("options", [{"no_preflight": True}, {"allow": ("dangling_link",)}])
def test_a_folder_with_nothing_to_send_is_refused_whatever_is_allowed(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").symlink_to("nowhere")
    seen = inspect_folder(EnqueueRequest(tmp_path / "model", **options))
    assert "empty_folder" in errors(seen)
    assert "allow" not in FolderRefused(seen).hint


def test_a_refusal_says_how_many_and_what_helps(tmp_path: Path) -> None:
    refused = FolderRefused(inspected(tmp_path, without(BASE, "config.json")))
    assert refused.message.startswith(f"{tmp_path / 'model'} cannot become a base model: ")
    assert "`allow`" in refused.hint
    assert refused.findings == refused.inspection.findings


def test_what_only_the_service_refuses_has_its_own_way_out(tmp_path: Path) -> None:
    sound = inspected(tmp_path, BASE)
    taken = inspected(tmp_path / "other", without(BASE, "config.json")).findings[0]
    online = replace(sound, findings=(replace(taken, check="service", severity="error"),))
    assert "`online`" in FolderRefused(online).hint


@pytest.mark.parametrize(
    ("path", "error"), [("nowhere", NotFound), ("model/config.json", UsageError)]
)
def test_a_path_that_is_not_a_folder(tmp_path: Path, path: str, error: type[Exception]) -> None:
    folder(tmp_path / "model", BASE)
    with pytest.raises(error):
        inspect_folder(EnqueueRequest(tmp_path / path))


def test_a_link_out_of_the_folder_is_not_read_unless_it_is_allowed(tmp_path: Path) -> None:
    root = folder(tmp_path / "model", without(BASE, "config.json"))
    (tmp_path / "mine.json").write_text('{"architectures": ["BertModel"]}')
    (root / "config.json").symlink_to(tmp_path / "mine.json")
    refused = inspect_folder(EnqueueRequest(root))
    assert refused.kind is Kind.BASE
    assert errors(refused) == ["outside_link"]
    assert "Bert" not in repr((refused.because, refused.findings))
    allowed = inspect_folder(EnqueueRequest(root, allow=("outside_link",)))
    assert (allowed.kind, errors(allowed)) == (Kind.EMBEDDING, [])


def test_a_link_out_of_the_folder_is_not_read_under_a_name_that_is_shown_with_escapes(
    tmp_path: Path,
) -> None:
    root = folder(tmp_path / "model", BASE)
    name = "a\N{ZERO WIDTH JOINER}.safetensors.index.json"
    (tmp_path / "mine.json").write_text('{"weight_map": {"secret": "secret.safetensors"}}')
    (root / name).symlink_to(tmp_path / "mine.json")
    refused = inspect_folder(EnqueueRequest(root))
    assert errors(refused) == ["outside_link"]
    assert "secret" not in repr(refused.findings)


@pytest.mark.parametrize("name", ["a\0b", "x" * 300])
def test_a_path_that_no_folder_can_have_is_not_found(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotFound):
        inspect_folder(EnqueueRequest(tmp_path / name))
