"""``hf:owner/name[@revision]``: sets of the Hugging Face hub, as ``dance push`` uploads them."""

from __future__ import annotations

from pathlib import Path

from dance.condensed.locations import RUN_FILE, SCHEMES, Scheme, SetFile
from dance.core import hub
from dance.core.errors import ArtifactError, ConfigError
from dance.core.libraries import need_library
from dance.core.progress import log

FORM = "hf:owner/name[@revision]"


def find(rest: str) -> SetFile:
    """Download the file of a set, unless it is in the cache of ``huggingface_hub``.

    Without a network, or with ``HF_HUB_OFFLINE``, only the cache is looked into.

    Args:
        rest: ``owner/name``, or ``owner/name@revision`` with a branch, a tag or a commit.

    Raises:
        ConfigError: it is not written like this, or ``huggingface_hub`` is not installed.
        ArtifactError: the set cannot be fetched.
    """
    repository, at, revision = rest.partition("@")
    location = f"hf:{rest}"
    if not hub.REPOSITORY.fullmatch(repository) or (at and not revision):
        raise ConfigError(f"a set of the hub must be given as {FORM}: got {location!r}")
    library = need_library("huggingface_hub", "hf", f"fetching {location}")
    alone = ""
    if hub.is_offline():
        alone = "HF_HUB_OFFLINE is set: unset it to download it"
    elif not hub.reachable(*(host := hub.place())):
        log(f"no connection to {host[0]}: {location} is looked for in the cache of the hub only")
        alone = f"there is no connection to {host[0]}: check the network and HF_ENDPOINT"
    asked = f"{RUN_FILE} of the data set {repository}" + (f" at {revision}" if revision else "")
    with hub.explained(f"fetch {location}", asked, ArtifactError):
        try:
            path = library.hf_hub_download(
                repository,
                RUN_FILE,
                repo_type="dataset",
                revision=revision or None,
                endpoint=hub.endpoint(),
                local_files_only=bool(alone),
            )
        except FileNotFoundError as error:
            if not alone:
                raise
            raise ArtifactError(
                f"{location} must be in the cache of the hub: it is not, and {alone}"
            ) from error
    # The cache has a folder for each commit.
    return SetFile(Path(path), f"hf:{repository}@{Path(path).parent.name}")


SCHEMES.register("hf")(Scheme(FORM, find))
