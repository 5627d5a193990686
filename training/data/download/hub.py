"""A repository of the Hugging Face hub as files at addresses, with the hashes that the hub publishes.

huggingface_hub says what there is, where, and with which token (that of `HF_TOKEN`, or of whoever is logged in). The
files are fetched as all others are: huggingface_hub 2 begins a file anew after a stop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from detdiffusion.diffusion.habits.hub import wanted_files
from detdiffusion.errors import DownloadError, why
from training.data.download.offers import WebFile


def repository_files(repository: str, revision: str | None) -> Sequence[WebFile]:
    """What a pipeline reads of a repository (pickles only where a part has nothing else), at the commit that a branch
    is at now. Small files have no SHA-256 there.

    Raises:
        DownloadError: the hub does not give it.
    """
    from huggingface_hub import HfApi, hf_hub_url

    try:
        info = HfApi().model_info(repository, revision=revision, files_metadata=True)
    except Exception as error:  # the hub's HTTP client has errors of its own, which change with its version
        raise DownloadError(f"the hub did not give {repository}: {why(error)}") from error
    siblings = {sibling.rfilename: sibling for sibling in info.siblings or []}
    found = []
    for name in wanted_files(siblings, None, pickles=True):
        size, lfs = siblings[name].size, siblings[name].lfs
        url = hf_hub_url(repository, name, revision=info.sha)
        found.append(WebFile(url, size or 0, size is not None, "" if lfs is None else lfs.sha256, place=name))
    if not found:
        raise DownloadError(f"{repository} holds no files of a model")
    return found


def hub_headers() -> Mapping[str, str]:
    """What the hub is told beside the address: who asks, and the token if there is one."""
    from huggingface_hub.utils._headers import build_hf_headers

    return dict(build_hf_headers())
