"""Data sets of the Hugging Face Hub, ``hf://owner/name``: parquet files, fetched once by the Hub's client.

``hf://owner/name/configuration`` chooses one of several. The Hub's oldest data sets go by a name without an
owner too: ``hf://food101``. A data set that is published in another form has
parquet files on the branch that the Hub makes by itself.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vitrail.data.readers.options import ReaderOptions
from vitrail.data.readers.table import read_tables
from vitrail.data.readers.tables import find_parquet
from vitrail.data.samples import Table
from vitrail.errors import UsageError, VitrailError

PREFIX = "hf://"
CONVERTED = "refs/convert/parquet"
"""The branch with the parquet files that the Hub makes of data sets in other forms."""


def read_hub(where: str, options: ReaderOptions) -> Table:
    """Return a data set of the Hub, from the client's cache or, unless that is forbidden, from the network.

    The network is forbidden by ``options.offline`` and by ``HF_HUB_OFFLINE``. Paths in the tables may not
    lead out of the data set. Raises VitrailError when it cannot be had, UsageError for a name that is none.
    """
    owner, _, rest = where.removeprefix(PREFIX).strip("/").partition("/")
    name, _, configuration = rest.partition("/")
    if not owner:
        raise UsageError(f"{where} is no data set on the Hub: expected hf://owner/name.")
    repository = f"{owner}/{name}" if name else owner
    for revision in (None, CONVERTED):
        folder = _fetch(repository, revision, offline=options.offline)
        if files := find_parquet(folder, configuration or None):
            table = read_tables(folder, folder, files, options, confined=True)
            return replace(table, home=f"{PREFIX}{repository}@{Path(folder).name}")
    raise VitrailError(f"{where} has no parquet files{f' under {configuration}' if configuration else ''}.")


def _fetch(repository: str, revision: str | None, *, offline: bool) -> str:
    """Return the local folder with the parquet files of a data set."""
    try:
        from huggingface_hub import constants, errors, snapshot_download
    except ImportError:
        raise VitrailError('Data from the Hub needs one more package: pip install "vitrail[hub]"') from None
    offline = offline or constants.HF_HUB_OFFLINE
    try:
        folder = snapshot_download(
            repository,
            repo_type="dataset",
            revision=revision,
            allow_patterns="*.parquet",
            local_files_only=offline,
        )
    except errors.LocalEntryNotFoundError:
        kept = Path(constants.HF_HUB_CACHE, "datasets--" + repository.replace("/", "--"))
        cause = (
            "and the network is forbidden (--offline or HF_HUB_OFFLINE)"
            if offline
            else "and the Hub cannot be reached"
        )
        raise VitrailError(
            f"hf://{repository} is not in the cache ({kept}), {cause}. Fetch it once online."
        ) from None
    except errors.GatedRepoError:
        raise VitrailError(
            f"hf://{repository} asks for its terms to be accepted: do so on its page, then `hf auth login`."
        ) from None
    except errors.RepositoryNotFoundError:
        raise VitrailError(
            f"hf://{repository} does not exist on the Hub, or is private (`hf auth login`)."
        ) from None
    except (errors.HFValidationError, errors.RevisionNotFoundError) as error:
        raise VitrailError(f"hf://{repository}: {str(error).splitlines()[0]}") from None
    except (errors.HfHubHTTPError, OSError) as error:
        raise VitrailError(f"hf://{repository} could not be fetched: {str(error).splitlines()[0]}") from None
    return str(folder)
