"One process works in a folder at a time, also where the file system has no locks."

import errno
import json
import os
import socket
import subprocess
import sys

import pytest

from leukocls.core.locks import FolderLock

posix = pytest.mark.skipif(os.name == 'nt', reason='Windows locks bytes of a file')


@pytest.fixture
def without_locks(monkeypatch):
    "A network share whose file system knows no locks."
    import fcntl

    def refuse(*words):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(fcntl, 'flock', refuse)


def written(path, pid, host=None):
    path.write_text(json.dumps(dict(pid=pid, host=host or socket.gethostname())))
    return FolderLock(path)


def test_a_second_process_is_told_who_has_it(tmp_path):
    path = tmp_path / 'run' / 'lock'
    first, second = FolderLock(path), FolderLock(path)
    assert first.acquire() and not second.acquire()
    assert second.holder() == f'process {os.getpid()} on {socket.gethostname()}'
    first.close()
    assert second.acquire()
    second.close()
    # closing twice is no error
    second.close()


@pytest.mark.parametrize('content', ['', 'no JSON', '[]', '{"pid": 1}', '\udc80'])
def test_a_damaged_file_names_nobody(tmp_path, content):
    path = tmp_path / 'lock'
    path.write_text(content, encoding='utf8', errors='surrogateescape')
    assert FolderLock(path).holder() == 'another process'


@posix
def test_without_locks_a_living_process_keeps_it_and_a_dead_one_does_not(tmp_path, without_locks):
    path = tmp_path / 'lock'
    living = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)
    assert not written(path, living.pid).acquire()
    # a process of that number on another machine cannot be asked
    assert written(path, living.pid, 'elsewhere').acquire()
    living.communicate(b'\n')
    lock = written(path, living.pid)
    assert lock.acquire() and str(os.getpid()) in path.read_text()
    lock.close()
    # an earlier one of this process, and what a killed one left half written
    assert written(path, os.getpid()).acquire()
    path.write_text('{"pid": 12')
    assert FolderLock(path).acquire()


@posix
def test_without_locks_another_users_process_keeps_it(tmp_path, without_locks, monkeypatch):
    def kill(pid, signal):
        raise PermissionError(errno.EPERM, 'not yours')

    monkeypatch.setattr(os, 'kill', kill)
    assert not written(tmp_path / 'lock', 4242).acquire()


@posix
def test_a_lock_whose_file_was_removed_meanwhile_is_no_lock(tmp_path, monkeypatch):
    from leukocls.core import locks

    path = tmp_path / 'lock'

    def removed_first(handle):
        path.unlink()
        return True

    monkeypatch.setattr(locks, '_lock_file', removed_first)
    assert not FolderLock(path).acquire()
