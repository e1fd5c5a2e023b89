"""The store: what is kept survives, what is not whole is not kept, and several writers do not meet."""

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import json
import multiprocessing
import threading
import time
from functools import cached_property

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlip_bench.data.reference import energy, fingerprint, forces, group, stress
from mlip_bench.errors import UserError
from mlip_bench.results import TASK, Journal, file_name
from mlip_bench.run.store import FORMAT_FILE, Stopped, Store, commit_of, sole_writer
from mlip_bench.run.tasks import Task


@dataclasses.dataclass(frozen=True, eq=False)
class Writing(Task):
    """Leaves a file with a text."""

    text: str
    wanted: str | None = None
    state: bool = False

    @property
    def kind(self):
        return "writing"

    @property
    def label(self):
        return f"writing {self.text}"

    @property
    def resumable(self):
        return self.state

    @cached_property
    def decides(self):
        return {"text": self.text}

    def verify(self, folder):
        if self.wanted is not None and (folder / "text").read_text() != self.wanted:
            raise ValueError("another text was written than was asked for")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "a store.v1 é#")


def done(store, task, text=None):
    with store.begin(task, threading.Event()) as work:
        assert work is not None
        (work.folder / "text").write_text(task.text if text is None else text)
        store.commit(task, work)


def interrupted(store, task, text, state=None):
    """Begin a task that does not end, and return the folder of its checkpoint."""
    with contextlib.suppress(ZeroDivisionError), store.begin(task, threading.Event()) as work:
        (work.folder / "text").write_text(text)
        if state is not None:
            (work.checkpoint / "state").write_text(state)
        raise ZeroDivisionError
    return work.checkpoint


def test_what_was_committed_is_there_and_is_not_begun_again(store):
    task = Writing("one")
    assert not store.has(task)
    done(store, task)
    assert store.has(task)
    assert (store.entry(task) / "text").read_text() == "one"
    assert json.loads((store.entry(task) / TASK).read_text())["decides"] == {"text": "one"}
    with store.begin(task, threading.Event()) as work:
        assert work is None
    assert not store.has(Writing("two"))


def test_what_was_not_committed_is_gone(store):
    task = Writing("one")
    interrupted(store, task, "half")
    assert not store.has(task)
    assert not list(store.folder.rglob("*.partial"))


def test_what_is_not_what_was_asked_for_is_refused(store):
    task = Writing("one", wanted="one")
    with pytest.raises(ValueError, match="another text"):
        done(store, task, text="two")
    assert not store.has(task)


def test_leftovers_of_a_killed_run_are_removed_by_the_next(store):
    task = Writing("one")
    leftover = store.entry(task).with_name(f"{task.key}.elsewhere-1-1.partial")
    other = store.entry(task).with_name("another.elsewhere-1-1.partial")
    for folder in (leftover, other):
        folder.mkdir(parents=True)
    done(store, task)
    assert not leftover.exists()
    assert other.exists()  # somebody may be at work on it


def test_a_checkpoint_stays_until_the_task_is_done(store):
    task = Writing("one", state=True)
    interrupted(store, task, "half", state="so far")
    with store.begin(task, threading.Event()) as work:
        assert (work.checkpoint / "state").read_text() == "so far"
        (work.folder / "text").write_text("one")
        store.commit(task, work)
    assert not work.checkpoint.exists()


def test_a_checkpoint_of_another_task_is_refused(store):
    task, other = Writing("one", state=True), Writing("two", state=True)
    interrupted(store, other, "half", state="of two").rename(
        store.entry(task).with_name(f"{task.key}.checkpoint")
    )
    with (
        pytest.raises(UserError, match=r"\.checkpoint: does not belong to writing one; remove it"),
        store.begin(task, threading.Event()),
    ):
        pass


def test_a_task_that_is_done_again_stays_until_it_is(store):
    task = Writing("one")
    done(store, task)
    first = commit_of(store.entry(task))
    with store.begin(task, threading.Event(), again=True) as work:
        assert store.has(task)
        (work.folder / "text").write_text("again")
        store.commit(task, work)
    assert (store.entry(task) / "text").read_text() == "again"
    assert commit_of(store.entry(task)) != first
    assert not list(store.folder.rglob("*.partial"))


@pytest.mark.parametrize("damage", ["emptied", "cut", "another", "gone", "undescribed"])
def test_what_is_damaged_is_not_finished_and_is_done_again(damage, store):
    """Rows that were cut off were missing in reports, in silence."""
    task = Writing("one two three")
    done(store, task)
    file, description = store.entry(task) / "text", store.entry(task) / TASK
    changes = {
        "emptied": lambda: file.write_text(""),
        "cut": lambda: file.write_text("one two"),
        "another": lambda: file.write_text("one two fifty"),
        "gone": file.unlink,
        "undescribed": description.unlink,
    }
    changes[damage]()
    assert not store.has(task)
    assert store.is_damaged(task)
    done(store, task)
    assert file.read_text() == "one two three"
    assert store.has(task)


def test_a_store_that_another_run_is_just_beginning_is_no_foreign_folder(tmp_path):
    (tmp_path / ".store.json.12.partial").write_text("{")
    (tmp_path / "lost+found").mkdir()
    assert not Store(tmp_path).has(Writing("one"))


def test_a_checkpoint_of_which_a_kill_left_only_the_beginning_is_taken(store):
    task = Writing("one", state=True)
    folder = store.entry(task).with_name(f"{task.key}.checkpoint")
    folder.mkdir(parents=True)
    (folder / ".task.json.12.partial").write_text("{")
    done(store, task)


def hold(folder, ready, seconds):
    store, task = Store(folder), Writing("one")
    with store.begin(task, threading.Event()) as work:
        ready.set()
        time.sleep(seconds)
        (work.folder / "text").write_text("of the first")
        store.commit(task, work)


def test_who_comes_second_waits_and_takes_the_result_of_the_first(store):
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    first = context.Process(target=hold, args=(store.folder, ready, 1.0))
    first.start()
    assert ready.wait(60)
    with store.begin(Writing("one"), threading.Event()) as work:
        assert work is None
    first.join()
    assert (store.entry(Writing("one")) / "text").read_text() == "of the first"


def test_who_waits_can_be_stopped(store):
    context = multiprocessing.get_context("spawn")
    ready, stop = context.Event(), threading.Event()
    first = context.Process(target=hold, args=(store.folder, ready, 600.0))
    first.start()
    assert ready.wait(60)
    stop.set()
    with pytest.raises(Stopped), store.begin(Writing("one"), stop):
        pass
    first.kill()
    first.join()
    done(store, Writing("one"))  # who was killed has let go


# -- structures ----------------------------------------------------------------------------------------


def test_structures_are_kept_to_the_last_bit(store, embedded, alloys):
    for structures in (embedded.train, alloys, []):
        sha256 = store.put_structures(structures)
        found = Store(store.folder).structures(sha256)
        assert fingerprint(found) == fingerprint(structures) == sha256
        for one, other in zip(found, structures, strict=True):
            assert energy(one) == energy(other)
            np.testing.assert_array_equal(forces(one), forces(other))
            np.testing.assert_array_equal(stress(one), stress(other))
            assert group(one) == group(other)


def test_a_crystal_without_values_is_kept_too(store, embedded):
    sha256 = store.put_structures([embedded.crystal])
    (found,) = store.structures(sha256)
    assert found == embedded.crystal


def test_damaged_structures_are_refused(store, embedded):
    sha256 = store.put_structures(embedded.test)
    (path,) = (store.folder / "structures").glob("*.traj")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"\.traj: (damaged|cannot be read)"):
        store.structures(sha256)


# -- stores that cannot be used ------------------------------------------------------------------------


def test_a_store_of_another_layout_is_refused(store):
    (store.folder / FORMAT_FILE).write_text('{"format": 99}')
    with pytest.raises(UserError, match="a store of layout 99, and this version reads layout 1"):
        Store(store.folder)
    (store.folder / FORMAT_FILE).write_text("{")
    with pytest.raises(UserError, match="not the description of a store"):
        Store(store.folder)


def test_a_folder_of_somebody_else_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty, and not a store"):
        Store(tmp_path)
    with pytest.raises(UserError, match="not a folder"):
        Store(tmp_path / "mine.txt")


def test_a_file_system_without_locks_is_named(store, tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(UserError, match="its file system has no locks"):
        Store(store.folder)
    with (
        pytest.raises(UserError, match="its file system has no locks"),
        store.begin(Writing("one"), threading.Event()),
    ):
        pass
    with pytest.raises(UserError, match="its file system has no locks"), sole_writer(tmp_path / "run"):
        pass


# -- journals and names --------------------------------------------------------------------------------


def test_a_journal_passes_over_a_line_that_is_not_whole(tmp_path):
    journal = Journal(tmp_path / "folder" / "records.jsonl")
    assert journal.records() == []
    for number in range(3):
        journal.append({"number": number})
    for cut in (1, 5):
        content = journal.path.read_bytes()
        journal.path.write_bytes(content[:-cut])
        assert [record["number"] for record in journal.records()] == [0, 1]
        journal.append({"number": 2})
        assert [record["number"] for record in journal.records()] == [0, 1, 2]
    journal.path.write_text('{"number": 0}\n{"numb\n{"number": 2}\n')
    with pytest.raises(UserError, match=r"records\.jsonl, line 2: damaged"):
        journal.records()


@given(st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1), unique=True))
def test_different_names_are_different_files(names):
    files = [file_name(name) for name in names]
    assert len(set(files)) == len(names)
    for file in files:
        assert "/" not in file
        assert "\0" not in file
        assert not file.startswith(".")
        assert len(file.encode()) <= 200


def test_plain_names_stay_as_they_are(tmp_path):
    for name in ("snap", "gap-n_sparse400-l_max8", "snap-cutoff4.2", "my run é#'\"$"):
        assert file_name(name) == name
    long = "é" * 300
    (tmp_path / file_name(long)).touch()
    assert file_name(long) != file_name(long + "e")


def test_files_are_kept_once_by_their_content(tmp_path):
    store, path = Store(tmp_path / "store"), tmp_path / "model.pth"
    path.write_bytes(b"weights")
    sha256 = hashlib.sha256(b"weights").hexdigest()
    kept = store.put_file(path, sha256)
    assert (kept.name, kept.read_bytes()) == ("model.pth", b"weights")
    path.write_bytes(b"others")
    assert store.put_file(path, sha256) == kept
    with pytest.raises(UserError, match=r"model\.pth: changed since the command began; repeat it"):
        store.put_file(path, hashlib.sha256(b"more").hexdigest())
    path.unlink()
    with pytest.raises(UserError, match=r"model\.pth: not there any more"):
        store.put_file(path, hashlib.sha256(b"others").hexdigest())
    assert list((store.folder / "files").rglob("*.pth")) == [kept]
