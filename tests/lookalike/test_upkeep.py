"""The commands that look after a collection, on a real one: what they print, as sentences and as JSON, and their status."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from index.catalog import FILE
from index.job import job
from lookalike.cli import app


@pytest.fixture(scope="module")
def shapes(drawings, backbone, encoder, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("upkeep") / "shapes"
    job.run(drawings, backbone, encoder, folder, origin="shapes")
    return folder


def run(*arguments, status: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == status, result.output
    return result.stdout if "--json" in arguments else " ".join(result.output.split())


def test_a_backup_and_its_way_back(shapes, tmp_path):
    said = run("backup", shapes, "--to", tmp_path / "backup")
    assert "108 items, generation 1, change 0" in said
    again = json.loads(run("backup", shapes, "--to", tmp_path / "backup", "--json"))
    assert again["linked"] > 10 * again["copied"] > 0
    assert (again["count"], again["missing"], again["numbers"]["job"]) == (108, [], 1)
    assert "108 items, as they were at 2" in run("restore", tmp_path / "backup", "--to", tmp_path / "collection")
    found = json.loads(run("restore", tmp_path / "backup", "--to", tmp_path / "collection", "--replace", "--json"))
    assert Path(found["set_aside"]).is_dir()
    assert found["lost"] == {"jobs": [], "changes": 0, "changed_ids": [], "items": 0, "item_ids": []}
    said = run("restore", tmp_path / "backup", "--to", tmp_path / "collection", "--replace")
    assert "After the backup came 0 jobs and 0 changes" in said
    (tmp_path / "collection" / FILE).write_bytes(b"no database" * 1000)
    said = run("restore", tmp_path / "backup", "--to", tmp_path / "collection", "--replace")
    assert "is lost, and cannot be told" in said


def test_verify(shapes, tmp_path):
    found = json.loads(run("verify", shapes, "--sample", 20, "--json"))
    assert (found["whole"], found["live"], found["agreement"]["images"]) == (True, 108, 20)
    assert found["agreement"]["minimum"] >= 0.999
    assert "Nothing is wrong." in run("verify", shapes, "--sample", 3)
    run("backup", shapes, "--to", tmp_path / "backup")
    run("restore", tmp_path / "backup", "--to", tmp_path / "harmed")
    keys = next((tmp_path / "harmed" / "segments").glob("*/keys.i64"))
    keys.write_bytes(bytes(keys.stat().st_size))
    said = run("verify", tmp_path / "harmed", "--sample", 0, status=1)
    assert "keys.i64 holds something else than was written" in said
    assert "→ Run `lookalike index` again" in said
    found = json.loads(run("verify", tmp_path / "harmed", "--sample", 0, "--json", status=1))
    assert found["whole"] is False
    assert [finding["todo"] for finding in found["findings"]] == ["Run `lookalike index` again to build it anew."] * len(
        found["findings"]
    )


def test_export_and_import(shapes, backbone, tmp_path):
    file = tmp_path / "shapes.parquet"
    assert "108 items" in run("export", shapes, "--to", file)
    assert json.loads(run("export", shapes, "--to", file, "--json"))["left_out"] == 0
    result = CliRunner().invoke(app, ["import", str(file), str(tmp_path / "new")])
    assert "Say with --bundle which one made the vectors" in str(result.exception)
    said = run("import", file, tmp_path / "new", "--bundle", backbone.path)
    assert "108 items came, 0 took another's place" in said
    assert json.loads(run("import", file, tmp_path / "new", "--json"))["unchanged"] == 108
    assert json.loads(run("verify", tmp_path / "new", "--json"))["whole"] is True


def test_a_name_that_looks_like_markup(shapes, tmp_path):
    run("backup", shapes, "--to", tmp_path / "[red]backup")
    assert (tmp_path / "[red]backup" / "backup.json").is_file()
