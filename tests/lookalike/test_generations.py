"""The commands generations, rollback and gc as they are typed, on a collection of two generations."""

import json
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lookalike.cli import app
from model import Failure


@pytest.fixture
def collection(tmp_path) -> Path:
    with zipfile.ZipFile(Path(__file__).parents[1] / "index" / "catalog" / "format1.zip") as archive:
        archive.extractall(tmp_path)
    return tmp_path / "collection"


def typed(*words) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None:
        raise result.exception
    return result.output


def told(*words) -> dict:
    return json.loads(typed(*words, "--json"))


def test_generations_are_listed(collection):
    newest, oldest = told("generations", collection)["generations"]
    assert (newest["number"], newest["state"], newest["recall"], newest["items"]) == (2, "current", 1.0, None)
    assert (oldest["number"], oldest["state"], oldest["bundle"]) == (1, "kept", "mini")
    assert newest["published"] > oldest["published"] > "2026-"


def test_back_and_forward(collection):
    assert told("rollback", collection) == {"before": 2, "generation": 1, "count": 4}
    assert [each["state"] for each in told("generations", collection)["generations"]] == ["rolled back", "current"]
    with pytest.raises(Failure, match="no way back"):
        typed("rollback", collection)
    assert told("rollback", collection, "--to", 2) == {"before": 1, "generation": 2, "count": 3}


def test_garbage_is_told_and_freed(collection):
    would = told("gc", collection, "--keep", 1, "--dry-run")
    assert (would["generations"], would["versions"], would["vectors"], would["dry_run"]) == ([1], 2, 2, True)
    assert told("gc", collection, "--keep", 1) == would | {"dry_run": False}
    assert len(told("generations", collection)["generations"]) == 1
    assert told("gc", collection, "--keep", 1)["bytes"] == 0


def test_for_people(collection):
    assert "current" in typed("generations", collection)
    assert "Would free" in typed("gc", collection, "--dry-run")
    assert "Generation 1 is searched from now on" in typed("rollback", collection)
