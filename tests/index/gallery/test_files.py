"""The bytes of a file, whatever happens to it meanwhile."""

import pytest

from index.gallery import files


@pytest.mark.parametrize("told", [0, 5, 10, 11, 40])
def test_a_file_that_changed_its_size_since_it_was_looked_at(tmp_path, monkeypatch, told):
    monkeypatch.setattr(files, "_PORTION", 3)
    (tmp_path / "a.png").write_bytes(b"0123456789")
    with (tmp_path / "a.png").open("rb", buffering=0) as file:
        assert files._all_of(file, told) == b"0123456789"


@pytest.mark.parametrize("told", [0, 8, 10, 40])
def test_of_a_large_file_no_more_than_tells_that_it_is(tmp_path, monkeypatch, told):
    monkeypatch.setattr(files, "MAX_FILE", 8)
    (tmp_path / "a.png").write_bytes(b"0123456789")
    with (tmp_path / "a.png").open("rb", buffering=0) as file:
        assert files._all_of(file, told) == b"012345678"
