"""What memory is left is found out; pixels in a file are whole, or there is none."""

import errno
import os
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from training.datasets import DataError, memory
from training.datasets.memory import available_memory, fits, new_store, open_store

MEMINFO = "MemTotal:       24000 kB\nMemFree:         1000 kB\nMemAvailable:    9000 kB\n"


def machine(root: Path, files: dict[str, str]) -> int:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return available_memory(root)


def v2(folder: str, limit: str, used: int, cache: int = 0) -> dict[str, str]:
    stat = f"anon 1\nfile {cache}\ninactive_file {cache}\n"
    return {f"{folder}/memory.max": limit, f"{folder}/memory.current": str(used), f"{folder}/memory.stat": stat}


def v1(folder: str, limit: int, used: int, cache: int = 0) -> dict[str, str]:
    stat = f"cache 7\ninactive_file 1\ntotal_inactive_file {cache}\n"
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat")
    return {f"{folder}/{name}": str(value) for name, value in zip(names, (limit, used, stat), strict=True)}


MACHINE = 9000 * 1024
V2 = {"proc/meminfo": MEMINFO, "proc/self/cgroup": "0::/jobs/mine\n"}
V1 = {"proc/meminfo": MEMINFO, "proc/self/cgroup": "5:cpu:/\n4:hugetlb,memory:/docker/abc\n0::/\n"}
NONE = 2**63 - 4096  # how version 1 says that there is no limit


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"proc/meminfo": MEMINFO}, MACHINE),
        (V2, MACHINE),
        (V2 | v2("sys/fs/cgroup/jobs/mine", "max\n", 10), MACHINE),
        (V2 | v2("sys/fs/cgroup/jobs/mine", "5000000\n", 1_000_000), 4_000_000),
        (V2 | v2("sys/fs/cgroup/jobs/mine", "5000000\n", 4_900_000, cache=3_000_000), 3_100_000),
        (V2 | v2("sys/fs/cgroup/jobs", "3000000\n", 0) | v2("sys/fs/cgroup/jobs/mine", "5000000\n", 0), 3_000_000),
        (V2 | v2("sys/fs/cgroup/jobs/mine", "5000000\n", 5_000_001), 0),
        (V2 | v2("sys/fs/cgroup/jobs/mine", f"{2**50}\n", 0), MACHINE),
        (V2 | v2("sys/fs/cgroup/jobs/other", "5\n", 0) | v2("sys/fs", "5\n", 0), MACHINE),
        (V1 | v1("sys/fs/cgroup/memory/docker/abc", 5_000_000, 1_000_000, cache=500_000), 4_500_000),
        (V1 | v1("sys/fs/cgroup/memory", 4_000_000, 0), 4_000_000),  # in the container, the host's path is not there
        (V1 | v1("sys/fs/cgroup/memory/docker/abc", NONE, 1_000_000), MACHINE),
    ],
)
def test_the_least_of_machine_and_groups_is_available(files: dict[str, str], expected: int, tmp_path: Path) -> None:
    assert machine(tmp_path, files) == expected


@pytest.mark.parametrize("files", [{}, {"proc/meminfo": "MemTotal: 5 kB\n"}])
def test_without_an_answer_it_is_what_the_machine_has(files: dict[str, str], tmp_path: Path) -> None:
    assert machine(tmp_path, files) == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_this_machine_has_some() -> None:
    assert 2**20 < available_memory() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_pixels_fit_up_to_the_last_byte() -> None:
    assert fits(7, 5, 7 * 5 * 5 * 3) and not fits(7, 5, 7 * 5 * 5 * 3 - 1)


# The file


def disk_of(free: int):
    return lambda _: namedtuple("usage", ["total", "used", "free"])(free, 0, free)


def no_space(*_: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("images", [0, 5])
def test_what_was_stored_is_read_by_others(images: int, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (images, 4, 4, 3), np.uint8)
    path = tmp_path / "new folder" / "pixels.npy"
    with new_store(path, images, 4) as stored:
        assert not stored.any() and not path.exists()
        stored[:] = pixels
    np.testing.assert_array_equal(stored, pixels)
    read = open_store(path, images, 4)
    np.testing.assert_array_equal(read, pixels)
    assert isinstance(read, np.memmap) and not read.flags.writeable
    assert [file.name for file in path.parent.iterdir()] == ["pixels.npy"]


@pytest.mark.parametrize("code", [None, errno.EOPNOTSUPP, errno.EINVAL])
def test_the_space_is_taken_before_the_first_pixel(code: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the file system cannot, or Python has no call for it."""

    def cannot(*_: int) -> None:
        raise AttributeError if code is None else OSError(code, "no")

    for take in (os.posix_fallocate, cannot):
        monkeypatch.setattr(os, "posix_fallocate", take)
        monkeypatch.setattr(memory, "_BLOCK", 100_000)
        with new_store(tmp_path / "pixels.npy", 30, 100) as stored:
            assert (tmp_path / ".pixels.npy.tmp").stat().st_blocks * 512 >= stored.nbytes == 900_000
            assert not stored.any()
        assert (tmp_path / "pixels.npy").stat().st_size == stored.offset + stored.nbytes


def test_a_disk_with_too_little_room_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", disk_of(3 * 10**9))
    with pytest.raises(DataError) as caught, new_store(tmp_path / "pixels.npy", 40_000, 316):
        pass
    assert str(caught.value) == (
        f"The pixels need 12 GB in {tmp_path}, and 3 GB are free. Make room there, allow more memory, or take a smaller size."
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("call", ["posix_fallocate", "fsync", "replace"])
def test_a_disk_that_fills_up_meanwhile_is_a_sentence(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path if call == "replace" else os, call, no_space)
    said = r"cannot be kept in .* \(No space left on device\)"
    with pytest.raises(DataError, match=said), new_store(tmp_path / "pixels.npy", 5, 4):
        pass
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_none_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be kept in"), new_store(tmp_path / "file" / "pixels.npy", 5, 4):
        pass


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_was_not_filled_leaves_the_file_before_it(error: type[BaseException], tmp_path: Path) -> None:
    with new_store(tmp_path / "pixels.npy", 2, 4) as stored:
        stored[:] = 7
    with pytest.raises(error), new_store(tmp_path / "pixels.npy", 2, 4):
        raise error
    assert [file.name for file in tmp_path.iterdir()] == ["pixels.npy"]
    assert (open_store(tmp_path / "pixels.npy", 2, 4) == 7).all()


def test_a_file_that_does_not_fit_is_told(tmp_path: Path) -> None:
    path = tmp_path / "pixels.npy"
    with pytest.raises(DataError, match=r"is not there\. Start anew"):
        open_store(path, 2, 4)
    with new_store(path, 2, 4):
        pass
    with pytest.raises(DataError, match="holds 2 × 4 × 4 × 3 values of uint8, not 3 pictures of 4 × 4 pixels"):
        open_store(path, 3, 4)
    with pytest.raises(DataError, match="holds 2 × 4 × 4 × 3 values of uint8, not 2 pictures of 5 × 5"):
        open_store(path, 2, 5)
    whole = path.read_bytes()
    for broken in (whole[:-1], whole[:60], b"", b"x" * 500):
        path.write_bytes(broken)
        with pytest.raises(DataError, match=r"cannot be read .* Remove it"):
            open_store(path, 2, 4)
    np.save(path, np.zeros((2, 4, 4, 3), np.float32))
    with pytest.raises(DataError, match="values of float32"):
        open_store(path, 2, 4)
