"""Models on the Hugging Face hub: the three files of `save_pretrained`. Weights and numbers come back, never code."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .._util.optional import optional_module
from .base import LatentVectorModel
from .pretrained import PACKAGED, load_single_model
from .saving import CONFIG, WEIGHTS


def push_to_hub(
    model: Any,
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | None = None,
    revision: str | None = None,
    commit_message: str = "Upload a latent vector model",
    create_pr: bool = False,
) -> str:
    """Upload what `save_pretrained` writes of a model, in one commit; see `LatentVectorModel.push_to_hub`."""
    hub = _hub()
    with TemporaryDirectory() as temporary:
        folder = Path(temporary, "model")
        model.save_pretrained(folder)  # first: what cannot be saved makes no repository
        api = hub.HfApi(token=token)
        try:
            repo = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
            commit = api.upload_folder(
                repo_id=repo,
                folder_path=folder,
                commit_message=commit_message,
                revision=revision,
                create_pr=create_pr,
            )
        except hub.errors.HfHubHTTPError as error:
            raise OSError(f"push_to_hub: {repo_id!r}: {' '.join(str(error).split())}") from error
    return str(commit.commit_url)


def from_pretrained(
    name: str | os.PathLike[str],
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
) -> LatentVectorModel:
    """Load a model from the Hugging Face hub, or from a folder or file as `load_model` does.

    Of a repository only ``config.json`` and ``model.safetensors`` are fetched: sizes and numbers, nothing that can run.

    Args:
        name: "user/name" on the hub, or a path.
        revision: A branch, tag or commit there; the main branch unless given.
        token: What the hub knows you by; the one that ``hf auth login`` has kept unless given.
        cache_dir: Where fetched files are kept; the hub library's own place unless given.
        local_files_only: Take what was fetched before, and ask no network.

    Returns:
        The model on the CPU, in evaluation mode.

    Raises:
        ModuleNotFoundError: huggingface_hub is not installed.
        OSError: There is no such repository or file, or the hub gives no answer.
        ValueError: The name is none, or a file is damaged.
    """
    if os.path.exists(name) or os.fspath(name) in PACKAGED:
        return load_single_model(name)
    hub = _hub()
    where = f"from_pretrained: {os.fspath(name)!r}"
    options = {"revision": revision, "token": token, "cache_dir": cache_dir, "local_files_only": local_files_only}
    try:
        files = [Path(hub.hf_hub_download(os.fspath(name), file, **options)) for file in (CONFIG, WEIGHTS)]
    except hub.errors.HFValidationError as error:
        raise ValueError(f"{where}: no path here, and no name on the hub: {error}") from error
    except Exception as error:  # of the hub's library, or of the one below it that speaks HTTP
        raise OSError(f"{where}: cannot be fetched from the hub: {' '.join(str(error).split())}") from error
    return load_single_model(files[0].parent)


def _hub() -> Any:
    return optional_module("huggingface_hub", "hub", "the Hugging Face hub")
