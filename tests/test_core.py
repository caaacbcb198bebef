import errno
import os

import pytest
from leukocls.core import LeukoError, RunError, late, listed, need, new_folder, pick_device, set_seed, versions, write_whole


@pytest.mark.parametrize('n,most,tail', [(3, 5, 'c'), (6, 5, 'and 1 more'), (2000, 1, 'and 1,999 more')])
def test_listed(n, most, tail): assert listed([chr(97 + i % 26) for i in range(n)], most).endswith(tail)

def test_need_names_the_command():
    with pytest.raises(LeukoError, match=r'pip install "leukocls\[app\]"'): need('surely_not_there', 'app', 'the web page')

@pytest.mark.parametrize('seed', [-1, 2**32])
def test_seed_out_of_range(seed):
    with pytest.raises(LeukoError, match='outside'): set_seed(seed)

def test_device_unknown():
    with pytest.raises(LeukoError, match='Use one of: auto'): pick_device('gpu')

def test_disk_full_leaves_the_old_file(tmp_path, monkeypatch):
    path = write_whole(tmp_path/'metrics.json', 'old')
    def full(fd): raise OSError(errno.ENOSPC, 'No space left on device')
    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(RunError, match='No space left on device'): write_whole(path, 'new')
    assert path.read_text() == 'old' and [p.name for p in tmp_path.iterdir()] == ['metrics.json']

def test_new_folder_never_reuses(tmp_path):
    (tmp_path/'run').mkdir(); (tmp_path/'run'/'precious.txt').write_text('x')
    assert new_folder(tmp_path, 'run').name == 'run-2' and (tmp_path/'run'/'precious.txt').read_text() == 'x'

def test_folder_below_a_file(tmp_path):
    (tmp_path/'file').write_text('')
    with pytest.raises(RunError, match='Choose another folder'): new_folder(tmp_path/'file', 'run')

def test_versions_are_those_installed():
    import torch
    assert versions()['torch'] == torch.__version__.split('+')[0] or versions()['torch'] == torch.__version__

def test_late(): assert late('leukocls.core:listed') is listed
