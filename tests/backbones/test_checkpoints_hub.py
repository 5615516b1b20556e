"""What is fetched from the Hub, by a client that is faked here: all that a checkpoint needs, once."""

import shutil
from pathlib import Path

import pytest

from vitrail.backbones import configure
from vitrail.backbones.weights import fetch
from vitrail.errors import UsageError, VitrailError

LAYOUTS = Path(__file__).parent / "layouts"
ID = "owner/model"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Return a Hub: files in ``remote``, what is in its ``cache``, and what was ``asked`` of the network."""
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError

    class Hub:
        remote, cache = tmp_path / "remote", tmp_path / "cache"
        asked: list[str] = []  # noqa: RUF012
        absent: set[str] = set()  # noqa: RUF012
        connected = True

    def download(repository, file, local_files_only=False):
        assert repository == ID
        kept = Hub.cache / file
        if kept.exists():
            return str(kept)
        if local_files_only:
            raise LocalEntryNotFoundError("not in the cache")
        Hub.asked.append(file)
        if not Hub.connected:
            raise LocalEntryNotFoundError("no network")
        if not (Hub.remote / file).exists():
            Hub.absent.add(file)
            raise RemoteEntryNotFoundError("not there", response=answer())
        shutil.copy(Hub.remote / file, kept)
        return str(kept)

    def look(repository, file):
        if (Hub.cache / file).exists():
            return str(Hub.cache / file)
        return Hub if file in Hub.absent else None

    Hub.remote.mkdir()
    Hub.cache.mkdir()
    Hub.asked, Hub.absent = [], set()
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", look)
    return Hub


def answer():
    """Return the answer of a server that has no such file, as the Hub's client of this version knows it."""
    from huggingface_hub.errors import HfHubHTTPError

    http = __import__(HfHubHTTPError.__mro__[1].__module__.split(".")[0])
    return http.Response(404, request=http.Request("GET", "https://example.org"))


def publish(hub, name, *files):
    for file in files or ("config.json", "model.safetensors", "preprocessor_config.json"):
        shutil.copy(LAYOUTS / name / file, hub.remote)


def test_a_checkpoint_with_its_preparation_is_fetched_once(hub):
    publish(hub, "clip")
    config = configure(ID)
    assert hub.asked == ["config.json", "model.safetensors", "preprocessor_config.json"]
    assert config.weights == ID
    assert config.enter_norm
    config.fetch()
    config.build((16, 16), 3)
    assert config.preprocessing()["fit"] == "crop"
    assert configure(ID, offline=True) == config
    assert len(hub.asked) == 3


def test_a_preparation_that_does_not_exist_is_asked_for_once(hub):
    publish(hub, "vit-bare", "config.json", "model.safetensors")
    fetch(ID)
    assert hub.asked[2:] == ["preprocessor_config.json", "processor_config.json"]
    fetch(ID)
    assert len(hub.asked) == 4


def test_a_cache_that_another_program_filled_is_completed(hub):
    publish(hub, "vit")
    for file in ("config.json", "model.safetensors"):
        shutil.copy(hub.remote / file, hub.cache)
    fetch(ID, offline=True)
    assert hub.asked == []
    hub.connected = False
    fetch(ID)
    hub.connected = True
    assert (fetch(ID) / "preprocessor_config.json").exists()


def test_shards_are_fetched_with_their_index(hub):
    publish(hub, "vit")
    shard = "model-00001-of-00001.safetensors"
    (hub.remote / "model.safetensors").rename(hub.remote / shard)
    (hub.remote / "model.safetensors.index.json").write_text(f'{{"weight_map": {{"a": "{shard}"}}}}')
    assert configure(ID).width == 16
    assert shard in hub.asked
    asked = len(hub.asked)
    configure(ID, offline=True).build((16, 16), 3)
    assert len(hub.asked) == asked


def test_what_is_not_to_be_had_is_said(hub):
    with pytest.raises(
        UsageError, match=r"not in the cache \(.*models--owner--model\), and --offline forbids"
    ):
        configure(ID, offline=True)
    with pytest.raises(
        VitrailError, match=r"has no model.safetensors with a config.json; pickles are not read"
    ):
        configure(ID)
    publish(hub, "vit", "config.json")
    with pytest.raises(VitrailError, match=r"python -m vitrail.backbones.convert FOLDER$"):
        configure(ID)
    hub.connected = False
    with pytest.raises(VitrailError, match=r"not in the cache \(.*\), and there is no network to fetch it"):
        configure(ID)
