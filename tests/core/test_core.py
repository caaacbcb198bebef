import errno
import io
import os
import subprocess
import sys
import threading

import pytest

from leukocls.core.errors import LeukoError, RunError
from leukocls.core.files import new_folder, write_whole
from leukocls.core.machine import pages_kept, pick_device, set_seed, versions
from leukocls.core.packages import late, need
from leukocls.core.text import listed


@pytest.mark.parametrize(
    'n,most,tail', [(3, 5, 'c'), (6, 5, 'and 1 more'), (2000, 1, 'and 1,999 more')]
)
def test_listed(n, most, tail):
    assert listed([chr(97 + i % 26) for i in range(n)], most).endswith(tail)


def test_need_names_the_command():
    with pytest.raises(LeukoError, match=r'pip install "leukocls\[app\]"'):
        need('surely_not_there', 'app', 'the web page')


@pytest.mark.parametrize('seed', [-1, 2**32])
def test_seed_out_of_range(seed):
    with pytest.raises(LeukoError, match='outside'):
        set_seed(seed)


def test_device_unknown():
    with pytest.raises(LeukoError, match='Use one of: auto'):
        pick_device('gpu')


def test_disk_full_leaves_the_old_file(tmp_path, monkeypatch):
    path = write_whole(tmp_path / 'metrics.json', 'old')

    def full(fd):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(RunError, match='No space left on device'):
        write_whole(path, 'new')
    assert path.read_text() == 'old' and [p.name for p in tmp_path.iterdir()] == ['metrics.json']


def test_new_folder_never_reuses(tmp_path):
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run' / 'precious.txt').write_text('x')
    assert (
        new_folder(tmp_path, 'run').name == 'run-2'
        and (tmp_path / 'run' / 'precious.txt').read_text() == 'x'
    )


def test_folder_below_a_file(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(RunError, match='Choose another folder'):
        new_folder(tmp_path / 'file', 'run')


def test_versions_are_those_installed():
    import torch

    assert (
        versions()['torch'] == torch.__version__.split('+')[0]
        or versions()['torch'] == torch.__version__
    )


def test_late():
    assert late('leukocls.core.text:listed') is listed


# Memory that stays

COUNTING = """
import resource
from leukocls.core.machine import pages_kept
def faults(n=10):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(n): b'1'*80_000_000
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
def resident(): return int(open('/proc/self/statm').read().split()[1])*4096
"""


def counted(code, **env):
    clean = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith('MALLOC_') and k not in ('GLIBC_TUNABLES', 'LD_PRELOAD')
    }
    r = subprocess.run(
        [sys.executable, '-c', COUNTING + code], capture_output=True, text=True, env=clean | env
    )
    assert r.returncode == 0, r.stderr
    return eval(r.stdout)


glibc = pytest.mark.skipif(
    not sys.platform.startswith('linux')
    or not hasattr(__import__('ctypes').CDLL(None), 'gnu_get_libc_version'),
    reason='not glibc',
)


@glibc
def test_pages_are_kept_inside_and_given_back_after():
    before, inside, nested, held = counted("""
before = faults(); big = [b'1'*(80_000_000 + i) for i in range(5)]
with pages_kept() as done:
    assert done; faults(); inside = faults()
    with pages_kept(): pass
    nested = faults()
    more = [b'1'*(80_000_000 + i) for i in range(20)]; top = resident(); del more
try:
    with pages_kept(): 1/0
except ZeroDivisionError: pass
print((before, inside, nested, top - resident()))""")
    assert inside < 1000 and nested < 1000 and before > 100_000 and held > 1_000_000_000


@glibc
@pytest.mark.parametrize(
    'env', [dict(MALLOC_ARENA_MAX='2'), dict(GLIBC_TUNABLES='glibc.malloc.tcache_count=7')]
)
def test_whoever_has_set_their_memory_keeps_it_so(env):
    done, after = counted(
        'with pages_kept() as done: faults(); n = faults()\nprint((done, n))', **env
    )
    assert done is False and after > 100_000


@pytest.mark.parametrize('platform', ['darwin', 'win32'])
def test_elsewhere_nothing_is_done(monkeypatch, platform):
    monkeypatch.setattr(sys, 'platform', platform)
    with pages_kept() as done:
        assert done is False


def test_many_threads_enter_and_leave():
    from leukocls.core import machine as core

    def often():
        for _ in range(200):
            with pages_kept():
                pass

    some = [threading.Thread(target=often) for _ in range(8)]
    [t.start() for t in some]
    [t.join() for t in some]
    assert core._keeping == [0]


def test_no_cache_in_capitals(tmp_path, monkeypatch):
    from leukocls.core.files import cache_folder

    monkeypatch.chdir(tmp_path)
    for word in ('off', 'OFF', 'Off'):
        monkeypatch.setenv('LEUKOCLS_CACHE', word)
        assert cache_folder('features') is None and not list(tmp_path.iterdir())


def test_a_log_file_has_a_line_every_half_minute(monkeypatch):
    """tqdm's monitor writes one more wherever none came for `maxinterval`, 10 seconds if nobody says
    otherwise: so it has to be longer than the half minute.
    """
    from leukocls.core.progress import bar

    monkeypatch.setattr('sys.stderr', io.StringIO())
    monkeypatch.delitem(sys.modules, 'ipykernel', raising=False)
    with bar(10, 'Images') as progress:
        assert progress.mininterval == 30 < progress.maxinterval
    with bar(10, mininterval=0.5) as progress:
        assert progress.mininterval == 0.5
