"""One row for each image, whatever it is; a killed run continues; no two requests are mixed."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock

from malaria_kedro.cells.parallel import AHEAD
from malaria_kedro.files import LockError
from malaria_kedro.inference import results as results_module
from malaria_kedro.inference.image_sets import ImageRef, ImageSet
from malaria_kedro.inference.results import Results, count_calls
from malaria_kedro.inference.sources import open_images
from malaria_kedro.inference.stream import StreamError, read_cells
from odd_images import bomb, cell, encoded, png

CELLS = 40


class Shade:
    """Stands in for a network: p is the red of the first pixel, in percent; the features are all three colours."""

    name = "shade"
    size = 16

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert cells.dtype == np.uint8
        assert cells.shape[1:] == (16, 16, 3)
        self.batches.append(len(cells))
        return cells[:, 0, 0, 0].astype(np.float32) / 100, cells[:, 0, 0].astype(np.float32)


class StoppedError(RuntimeError):
    pass


class Stopping(Shade):
    """The same network, which breaks down at its nth batch."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def __call__(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if len(self.batches) == self.after:
            raise StoppedError
        return super().__call__(cells)


def answering(p: object, features: object) -> Shade:
    """Return a network that gives these answers, whatever the cells."""

    class Answering(Shade):
        def __call__(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return p, features

    return Answering()


class Gate:
    """Lets pass what ``judge_one`` says nothing about: brightness → flags and reason."""

    def __init__(self, judge_one: Callable = lambda brightness: ((), ""), gate_id: str = "a gate") -> None:
        self.judge_one, self.id = judge_one, gate_id

    def judge(self, statistics: dict) -> list:
        return [self.judge_one(brightness) for brightness in statistics["brightness"]]


def read(images: ImageSet, predictor: Shade, work: Path, gate: Gate | None = None, **options: object) -> Results:
    """Read with one thread, so that batches reach the network in order."""
    settings = {"batch_size": 4, "threshold": 0.5, "classifier_id": "abc", "threads": 1, "rows_per_part": 8}
    return read_cells(images, predictor, gate, work, **settings | options)


def table(results: Results) -> pd.DataFrame:
    return pd.concat(results.frames(), ignore_index=True)


def parts(folder: Path) -> list[int]:
    return sorted(int(path.stem.split("-")[1]) for path in folder.glob("part-*.parquet"))


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """40 cells, the nth of shade n of 100 twice and a half; one of them is broken, and one too small."""
    folder = tmp_path / "cells"
    folder.mkdir()
    for row in range(CELLS):
        (folder / f"C{row // 10}_cell_{row:02d}.png").write_bytes(png(row * 5 // 2))
    (folder / "C1_cell_13.png").write_bytes(b"no image")
    (folder / "C2_cell_21.png").write_bytes(png(side=3))
    return folder


@pytest.fixture
def images(cells: Path, tmp_path: Path) -> ImageSet:
    return open_images(cells, tmp_path / "work", patient_pattern=r"^(C\d+)")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "work"


# --- the rows ---------------------------------------------------------------------------------------------------


def test_every_image_is_one_row_in_the_order_of_the_source(images: ImageSet, work: Path) -> None:
    results = read(images, Shade(), work)
    found = table(results)
    assert len(results) == len(found) == CELLS
    assert found["path"].tolist() == [ref.name for ref in images.refs()]
    assert found["patient_id"].tolist() == [f"C{row // 10}" for row in range(CELLS)]
    good = found.drop(index=[13, 21])
    np.testing.assert_allclose(good["p_parasitized"], [row * 5 // 2 / 100 for row in good.index], rtol=1e-6)
    assert good["call"].tolist() == ["Parasitized" if row * 5 // 2 >= 50 else "Uninfected" for row in good.index]
    assert set(good["quality"]) == set(good["reason"]) == {""}


def test_a_bad_file_costs_its_row_and_no_other(images: ImageSet, work: Path) -> None:
    found = table(read(images, Shade(), work)).loc[[13, 21]]
    assert found["p_parasitized"].isna().all()
    assert found["call"].tolist() == ["", ""]
    assert found["quality"].tolist() == ["unreadable", "too_small"]
    assert found["reason"].str.contains("not a PNG|less than 16").all()
    assert found["width"].tolist() == [pd.NA, 3]


def test_a_cell_at_the_threshold_is_called_parasitized(images: ImageSet, work: Path) -> None:
    # 0.7 is less in float32, which p is stored in, than in float64, which the threshold may come in.
    found = table(read(images, Shade(), work, threshold=np.float64(0.7)))
    assert found["p_parasitized"].iloc[28] == np.float32(0.7)
    assert found["call"].iloc[26:30].tolist() == ["Uninfected"] * 2 + ["Parasitized"] * 2


def test_information_refuses_no_cell(tmp_path: Path, work: Path) -> None:
    (tmp_path / "one").mkdir()
    pages = encoded(cell(70), "TIFF", save_all=True, append_images=[cell(10)])
    (tmp_path / "one" / "pages.tif").write_bytes(pages)
    found = table(read(open_images(tmp_path / "one", work, patient_pattern=None), Shade(), work)).iloc[0]
    assert (found["call"], found["quality"]) == ("Parasitized", "several_pages")


def test_nothing_but_bad_files_never_reaches_the_network(tmp_path: Path, work: Path) -> None:
    (tmp_path / "bad").mkdir()
    for name, content in {"a.png": b"", "b.png": bomb(), "c.png": b"text"}.items():
        (tmp_path / "bad" / name).write_bytes(content)
    network = Shade()
    results = read(open_images(tmp_path / "bad", work, patient_pattern=None), network, work)
    assert (count_calls(results.frames()).refused, network.batches) == (3, [])


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are Unicode")
def test_a_name_that_is_no_utf_8_is_written_with_its_bytes(tmp_path: Path, work: Path) -> None:
    (tmp_path / "odd").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path / "odd") + b"/M\xfcller\n.png")).write_bytes(png())
    results = read(open_images(tmp_path / "odd", work, patient_pattern=r"^(M.)"), Shade(), work)
    found = table(results).iloc[0]
    assert (found["path"], found["patient_id"], found["call"]) == ("M\\xfcller\n.png", "M\\xfc", "Parasitized")


# --- network and gate -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("p", "features", "reason"),
    [
        (np.nan, 0.0, "the network gave nan: no probability"),
        (1.5, 0.0, "the network gave 1.5: no probability"),
        (-0.1, 0.0, "the network gave -0.1: no probability"),
        (0.9, np.inf, "the network gave features that are not numbers"),
    ],
)
def test_an_answer_that_is_no_probability_is_not_called(
    tmp_path: Path, work: Path, p: float, features: float, reason: str
) -> None:
    (tmp_path / "two").mkdir()
    for name in "ab":
        (tmp_path / "two" / f"{name}.png").write_bytes(png())
    network = answering(np.array([p, 0.25]), np.array([[features], [0.0]]))
    judged = []

    def judge_one(brightness: float) -> tuple:
        judged.append(brightness)
        return (), ""

    images = open_images(tmp_path / "two", work, patient_pattern=None)
    found = table(read(images, network, work, Gate(judge_one)))
    assert found["quality"].tolist() == ["no_probability", ""]
    assert found["reason"].tolist() == [reason, ""]
    assert found["call"].tolist() == ["", "Uninfected"]
    assert np.isnan(found["p_parasitized"].iloc[0])
    assert len(judged) == 1


def test_what_the_gate_flags_is_not_called(images: ImageSet, work: Path) -> None:
    gate = Gate(lambda brightness: (("blank", "not_a_cell"), "black") if brightness < 10 else ((), "fine"))
    found = table(read(images, Shade(), work, gate))
    assert found["quality"].tolist()[:4] == ["blank;not_a_cell"] * 4
    assert found["reason"].tolist()[:5] == ["black"] * 4 + [""]
    assert found["call"].tolist()[:5] == [""] * 4 + ["Uninfected"]
    assert found["p_parasitized"].isna().sum() == 2, "what the gate flags keeps its probability"


def test_what_a_gate_that_flags_notes_is_called(images: ImageSet, work: Path) -> None:
    gate = Gate(lambda brightness: (("blank",), "black") if brightness < 10 else ((), ""))
    refusing = read(images, Shade(), work, gate)
    flagging = read(images, Shade(), work, gate, gate_mode="flag")
    assert refusing.folder != flagging.folder
    without = table(read(images, Shade(), work))
    found = table(flagging)
    assert found["quality"].tolist()[:5] == ["blank"] * 4 + [""]
    assert found["reason"].tolist()[:4] == ["black"] * 4
    for column in ("call", "p_parasitized"):
        pd.testing.assert_series_equal(found[column], without[column])
    pd.testing.assert_series_equal(table(refusing)["p_parasitized"], without["p_parasitized"])
    counts = count_calls(flagging.frames())
    assert (counts.called, counts.refused, counts.unreadable, counts.flagged) == (38, 2, 2, 4)
    counts = count_calls(refusing.frames())
    assert (counts.called, counts.refused, counts.unreadable, counts.flagged) == (34, 6, 2, 0)


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"threshold": 1.5}, {"threshold": float("nan")}])
def test_settings_that_make_no_sense_are_refused(images: ImageSet, work: Path, options: dict) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(options))} is"):
        read(images, Shade(), work, **options)


# --- parts, and what a kill costs -------------------------------------------------------------------------------


def test_rows_are_written_as_they_come(images: ImageSet, work: Path) -> None:
    read(images, Shade(), work)
    assert parts(work) == [0, 8, 16, 24, 32]


def test_a_slow_network_writes_smaller_parts(images: ImageSet, work: Path) -> None:
    read(images, Shade(), work, seconds_per_part=0, rows_per_part=1000)
    assert len(parts(work)) > 2
    assert len(table(read(images, Shade(), work, rows_per_part=1000))) == CELLS


@pytest.mark.parametrize("after", range(10))
def test_what_breaks_down_anywhere_continues_to_the_same_table(
    images: ImageSet, work: Path, tmp_path: Path, after: int
) -> None:
    undisturbed = Shade()
    whole = table(read(images, undisturbed, tmp_path / "undisturbed"))
    with pytest.raises(StoppedError):
        read(images, Stopping(after), work)
    assert parts(work) == list(range(0, after // 2 * 8, 8))
    network = Shade()
    pd.testing.assert_frame_equal(table(read(images, network, work)), whole)
    assert network.batches == undisturbed.batches[after // 2 * 2 :]  # nothing is read twice but the part that was lost


def test_ctrl_c_ends_the_threads_and_keeps_the_parts(images: ImageSet, work: Path) -> None:
    class Interrupted(Shade):
        def __call__(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            if len(self.batches) == 5:
                raise KeyboardInterrupt
            return super().__call__(cells)

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        read(images, Interrupted(), work)
    assert threading.active_count() == before
    assert parts(work) == [0, 8]
    assert len(table(read(images, Shade(), work))) == CELLS


def test_a_full_disk_leaves_whole_parts_only(
    images: ImageSet, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = results_module.arrow_parquet.write_table

    def full(rows: object, path: Path) -> None:
        real(rows, path)
        if "000000016" in path.name:
            path.write_bytes(path.read_bytes()[:50])
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(results_module.arrow_parquet, "write_table", full)
        with pytest.raises(OSError, match="No space left"):
            read(images, Shade(), work)
    assert parts(work) == [0, 8]
    assert not list(work.glob(".part*"))
    pd.testing.assert_frame_equal(
        table(read(images, Shade(), work)), table(read(images, Shade(), tmp_path / "undisturbed"))
    )


def test_a_smaller_batch_may_continue_what_a_larger_one_began(images: ImageSet, work: Path, tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        read(images, Stopping(5), work)
    found = table(read(images, Shade(), work, batch_size=3))
    pd.testing.assert_frame_equal(found, table(read(images, Shade(), tmp_path / "undisturbed")))


def test_a_complete_request_does_nothing(images: ImageSet, work: Path) -> None:
    first = table(read(images, Shade(), work))
    network = Shade()
    pd.testing.assert_frame_equal(table(read(images, network, work)), first)
    assert network.batches == []


def test_a_damaged_part_is_made_again(images: ImageSet, work: Path) -> None:
    first = table(read(images, Shade(), work))
    (work / "part-000000016.parquet").write_bytes(b"PAR1 and then the disk broke")
    network = Shade()
    pd.testing.assert_frame_equal(table(read(images, network, work)), first)
    assert sum(network.batches) == 23  # rows 16 to 39, less one that is too small


KILLED = """
    import os
    import time
    from pathlib import Path
    import numpy as np
    from malaria_kedro.inference.sources import open_images
    from malaria_kedro.inference.stream import read_cells

    class Shade:
        name, size, batches = "shade", 16, 0
        def __call__(self, cells):
            self.batches += 1
            if self.batches == 6:
                # The rows of the batches before are another thread's to write.
                while not (work / "part-000000008.parquet").exists():
                    time.sleep(0.01)
                os._exit(9)
            return cells[:, 0, 0, 0].astype(np.float32) / 100, cells[:, 0, 0].astype(np.float32)

    work = Path({work!r})
    images = open_images(Path({cells!r}), work, patient_pattern=r"^(C\\d+)")
    settings = dict(batch_size=4, threshold=0.5, classifier_id="abc", threads=1, rows_per_part=8)
    read_cells(images, Shade(), None, work, **settings)
"""


def test_a_killed_process_is_continued_to_the_same_table(cells: Path, work: Path, tmp_path: Path) -> None:
    code = textwrap.dedent(KILLED.format(work=str(work), cells=str(cells)))
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=120, capture_output=True)
    assert done.returncode == 9, done.stderr.decode()
    assert parts(work) == [0, 8]
    images = open_images(cells, work, patient_pattern=r"^(C\d+)")
    network = Shade()
    found = table(read(images, network, work))
    assert sum(network.batches) == 23  # rows 16 to 39, less one that is too small
    pd.testing.assert_frame_equal(found, table(read(images, Shade(), tmp_path / "undisturbed")))


class Failing(ImageSet):
    """A source whose images cannot be read while they are in ``errors``: what the machine says instead."""

    def __init__(self, images: ImageSet, errors: dict[str, BaseException]) -> None:
        super().__init__(images.fingerprint, len(images))
        self.images, self.errors, self.reads = images, errors, []
        self.refs = images.refs

    def read(self, ref: ImageRef) -> bytes:
        self.reads.append(ref.name)
        if ref.name in self.errors:
            raise self.errors[ref.name]
        return self.images.read(ref)


MACHINE = [
    FileNotFoundError(errno.ENOENT, "No such file or directory"),
    PermissionError(errno.EACCES, "Permission denied"),
    OSError(errno.EIO, "Input/output error"),
    OSError(errno.EMFILE, "Too many open files"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    OSError(errno.ESTALE, "Stale file handle"),
    MemoryError(),
]


@pytest.mark.parametrize("error", MACHINE, ids=lambda error: getattr(error, "strerror", None) or "MemoryError")
def test_what_the_machine_failed_to_read_is_read_again(
    images: ImageSet, work: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    refs = [ref.name for ref in images.refs()]
    failing = Failing(images, {refs[row]: error for row in (0, 7, 8, 25)})
    first = table(read(failing, Shade(), work))
    assert first.loc[[0, 7, 8, 25], "quality"].tolist() == ["unreadable"] * 4
    assert len(failing.reads) == CELLS

    failing.reads.clear()
    pd.testing.assert_frame_equal(table(read(failing, Shade(), work)), first)
    assert failing.reads == [refs[row] for row in (0, 7, 8, 25)], "and neither the broken nor the small image"

    del failing.errors[refs[7]], failing.errors[refs[25]]
    some = table(read(failing, Shade(), work))
    assert some.loc[[0, 7, 8, 25], "quality"].tolist() == ["unreadable", "", "unreadable", ""]
    assert (
        "4 of these images could not be read before, for a reason of the machine: 2 of them can be read now"
        in caplog.text
    )

    failing.errors.clear()
    whole = table(read(images, Shade(), tmp_path / "undisturbed"))
    pd.testing.assert_frame_equal(table(read(failing, Shade(), work)), whole)
    failing.reads.clear()
    pd.testing.assert_frame_equal(table(read(failing, Shade(), work)), whole)
    assert failing.reads == []


def test_what_failed_before_a_kill_is_read_again_too(images: ImageSet, work: Path, tmp_path: Path) -> None:
    refs = [ref.name for ref in images.refs()]
    with pytest.raises(StoppedError):
        read(Failing(images, {refs[3]: MACHINE[0], refs[30]: MACHINE[0]}), Stopping(5), work)
    whole = table(read(images, Shade(), tmp_path / "undisturbed"))
    pd.testing.assert_frame_equal(table(read(images, Shade(), work)), whole)


def test_a_kill_while_reading_again_keeps_the_earlier_rows(images: ImageSet, work: Path) -> None:
    refs = [ref.name for ref in images.refs()]
    first = table(read(Failing(images, {refs[3]: MACHINE[0]}), Shade(), work))
    with pytest.raises(StoppedError):
        read(images, Stopping(0), work)
    failing = Failing(images, {refs[3]: MACHINE[0]})
    pd.testing.assert_frame_equal(table(read(failing, Shade(), work)), first)
    assert failing.reads == [refs[3]]


@pytest.mark.parametrize("gone", [False, True], ids=["replaced", "was missing"])
def test_files_behind_a_list_are_read_again_when_they_change(tmp_path: Path, work: Path, gone: bool) -> None:
    path = tmp_path / "today.csv"
    path.write_text("path\na.png\nb.png\n")
    (tmp_path / "a.png").write_bytes(png(90))
    if not gone:
        (tmp_path / "b.png").write_bytes(png(80))

    def calls() -> list[str]:
        with open_images(path, work, patient_pattern=None) as listed:
            return table(read(listed, Shade(), work))["call"].tolist()

    assert calls() == ["Parasitized", "" if gone else "Parasitized"]
    times = {} if gone else {"ns": ((tmp_path / "b.png").stat().st_mtime_ns,) * 2}
    (tmp_path / "b.png").write_bytes(png(10))
    if times:
        os.utime(tmp_path / "b.png", **times)
    assert calls() == ["Parasitized", "Uninfected"]


# --- one request, one folder ------------------------------------------------------------------------------------


def other_name() -> Shade:
    network = Shade()
    network.name = "shade int8"
    return network


@pytest.mark.parametrize(
    "change",
    [
        {"classifier_id": "other"},
        {"threshold": 0.6},
        {"predictor": other_name()},
        {"gate": Gate()},
        {"bit_depth": 12},
    ],
    ids=["classifier", "threshold", "predictor", "gate", "bit depth"],
)
def test_another_request_in_the_same_folder_is_not_mixed(images: ImageSet, work: Path, change: dict) -> None:
    first = read(images, Shade(), work)
    before = {path.name: path.read_bytes() for path in work.iterdir() if path.is_file()}
    settings = {"predictor": Shade()} | change
    second = read(images, work=work, **settings)
    fingerprint = json.loads((second.folder / "request.json").read_text())["fingerprint"]
    assert (first.folder, second.folder) == (work, work / fingerprint[:12])
    assert {path.name: path.read_bytes() for path in work.iterdir() if path.is_file()} == before
    assert len(table(second)) == CELLS
    assert read(images, work=work, **settings | {"predictor": settings["predictor"]}).folder == second.folder
    assert read(images, Shade(), work).folder == work


def test_two_gates_are_two_requests(images: ImageSet, work: Path) -> None:
    gates = (Gate(gate_id="first"), Gate(gate_id="second"), Gate(gate_id="first"), None)
    folders = {read(images, Shade(), work, gate).folder for gate in gates}
    assert len(folders) == 3


def test_other_images_are_another_request(images: ImageSet, cells: Path, work: Path) -> None:
    read(images, Shade(), work)
    (cells / "C9_cell_1.png").write_bytes(png(99))
    more = open_images(cells, work, patient_pattern=r"^(C\d+)")
    assert len(table(read(more, Shade(), work))) == CELLS + 1
    assert len(table(read(images, Shade(), work))) == CELLS


@pytest.mark.parametrize("request_file", [None, "{", "[]", '{"fingerprint": 3}'])
def test_parts_of_an_unknown_request_are_left_alone(images: ImageSet, work: Path, request_file: str | None) -> None:
    read(images, Shade(), work)
    (work / "request.json").unlink()
    if request_file is not None:
        (work / "request.json").write_text(request_file)
    before = parts(work)
    results = read(images, Shade(), work)
    assert results.folder.parent == work
    assert parts(work) == before


def test_two_runs_at_once_are_refused(images: ImageSet, work: Path) -> None:
    with FileLock(work / ".lock"), pytest.raises(LockError, match="another run reads images"):
        read(images, Shade(), work)


class Shrunken(ImageSet):
    """A source that had nine images when it was listed, and has five now."""

    def __init__(self) -> None:
        super().__init__("shrunken", 9)

    def refs(self, start: int = 0) -> Iterator[ImageRef]:
        yield from [ImageRef(f"{row}.png") for row in range(5)][start:]

    def read(self, ref: ImageRef) -> bytes:
        return SMALL


def test_a_source_that_shrinks_meanwhile_is_noticed(work: Path) -> None:
    with pytest.raises(StreamError, match="gave 5 images and had 9"):
        read(Shrunken(), Shade(), work)


def test_a_list_that_shrinks_meanwhile_is_read_as_it_was_listed(tmp_path: Path, work: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("path\n" + "".join(f"gone_{number}.png\n" for number in range(9)))
    images = open_images(path, work, patient_pattern=None)
    path.write_text("path\n" + "".join(f"gone_{number}.png\n" for number in range(5)))
    assert len(table(read(images, Shade(), work))) == 9


# --- memory -----------------------------------------------------------------------------------------------------


class Counted(ImageSet):
    """A thousand cells that are made when they are read, and how many refs and bytes were asked for."""

    def __init__(self) -> None:
        super().__init__("counted", 1000)
        self.listed = self.reads = 0
        self._lock = threading.Lock()

    def refs(self, start: int = 0) -> Iterator[ImageRef]:
        for row in range(start, 1000):
            self.listed += 1
            yield ImageRef(f"{row}.png")

    def read(self, ref: ImageRef) -> bytes:
        with self._lock:
            self.reads += 1
        return SMALL


SMALL = png(side=16)


@pytest.mark.parametrize("threads", [1, 3])
def test_no_more_than_a_few_batches_are_held(work: Path, threads: int) -> None:
    images = Counted()
    written = []

    class Watching(Shade):
        def __call__(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            # What is written lies on disk; of the rest, batches are held and no more of them than may wait. The counts
            # come first: other threads go on meanwhile, and would seem to hold what is written by then.
            listed, reads = images.listed, images.reads
            done = max((first + 96 for first in parts(work)), default=0)
            written.append((listed - done, reads - done))
            return super().__call__(cells)

    read(images, Watching(), work, batch_size=32, rows_per_part=96, threads=threads)
    assert max(max(pair) for pair in written) <= 96 + 32 * (threads + AHEAD + 1)
    assert images.reads == 1000


def test_one_thread_decodes_while_the_network_of_another_computes(work: Path) -> None:
    images = Counted()
    waited = threading.Event()

    class Waiting(Shade):
        def __call__(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            # The first call returns only when the other thread has decoded what comes next.
            for _ in range(1000):
                if self.batches or images.reads >= 2 * 32:
                    break
                waited.wait(0.01)
            assert images.reads >= 2 * 32
            return super().__call__(cells)

    read(images, Waiting(), work, batch_size=32, rows_per_part=1000, threads=2)


@pytest.mark.parametrize("threads", [2, 5])
def test_the_number_of_threads_changes_nothing(images: ImageSet, work: Path, tmp_path: Path, threads: int) -> None:
    alone = table(read(images, Shade(), tmp_path / "alone"))
    pd.testing.assert_frame_equal(table(read(images, Shade(), work, threads=threads)), alone)


@pytest.mark.parametrize("after", [0, 4, 9])
def test_many_threads_that_break_down_continue_to_the_same_table(
    images: ImageSet, work: Path, tmp_path: Path, after: int
) -> None:
    before = threading.active_count()
    with pytest.raises(StoppedError):
        read(images, Stopping(after), work, threads=4)
    assert threading.active_count() == before
    written = parts(work)
    assert written == list(range(0, 8 * len(written), 8))  # without a gap
    found = table(read(images, Shade(), work, threads=3))
    pd.testing.assert_frame_equal(found, table(read(images, Shade(), tmp_path / "undisturbed")))
