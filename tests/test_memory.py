import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from leukocls.core import DataError, cache_folder, prune
from leukocls.data import check_images, read_table
from leukocls.memory import Remembered, content_hashes


@pytest.fixture
def cache(tmp_path, monkeypatch): monkeypatch.setenv('LEUKOCLS_CACHE', str(tmp_path/'cache')); return tmp_path/'cache'

def test_round_trip_whatever_the_order(cache):
    rng = np.random.default_rng(0); hashes = rng.integers(0, 256, (50, 32), dtype='uint8'); rows = rng.random((50, 7)).astype('float32')
    store = Remembered('features', 'k'); store.put(hashes[:20], rows[:20]); store.put(hashes[20:40], rows[20:40])
    order = rng.permutation(50); got, there = Remembered('features', 'k').get(hashes[order])
    assert there.tolist() == [i < 40 for i in order] and np.array_equal(got[there], rows[order][there])

def test_same_content_twice_gets_its_row_twice(cache):
    h = np.zeros((3, 32), 'uint8'); h[1] = 1; store = Remembered('features', 'k'); store.put(h[:2], np.array([[1.], [2.]])); assert store.get(h)[0].ravel().tolist() == [1, 2, 1]

def test_writers_at_once(cache):
    def write(i): Remembered('features', 'k').put(np.full((1, 32), i, 'uint8'), np.array([[float(i)]]))
    with ThreadPoolExecutor(8) as pool: list(pool.map(write, range(32)))
    got, there = Remembered('features', 'k').get(np.repeat(np.arange(32, dtype='uint8')[:, None], 32, 1)); assert there.all() and got.ravel().tolist() == list(range(32))

@pytest.mark.parametrize('damage', [b'', b'PK\x03\x04 half', b'x'*100])
def test_damaged_files_are_made_again(cache, damage):
    h = np.zeros((1, 32), 'uint8'); store = Remembered('features', 'k'); store.put(h, np.array([[1.]]))
    for p in store.folder.iterdir(): p.write_bytes(damage)
    assert not store.get(h)[1].any(); store.put(h, np.array([[3.]])); assert store.get(h)[0][0, 0] == 3

def test_nothing_is_unpickled(cache):
    "A file that somebody put there cannot run code."
    store = Remembered('features', 'k'); np.savez(store.folder/'k-evil.npz', hashes=np.zeros((1, 32), 'uint8'), rows=np.array([[object()]], dtype=object))
    assert not store.get(np.zeros((1, 32), 'uint8'))[1].any()

def test_off_and_unwritable(tmp_path, monkeypatch):
    monkeypatch.setenv('LEUKOCLS_CACHE', 'off'); assert cache_folder('x') is None; Remembered('x', 'k').put(np.zeros((1, 32), 'uint8'), np.zeros((1, 1)))
    (tmp_path/'file').write_text(''); monkeypatch.setenv('LEUKOCLS_CACHE', str(tmp_path/'file')); assert cache_folder('x') is None

def test_full_disk_loses_nothing_but_time(cache, monkeypatch):
    import leukocls.core as core
    store = Remembered('features', 'k')
    def full(*a): raise OSError(28, 'No space left on device')
    monkeypatch.setattr(core.os, 'fsync', full); store.put(np.zeros((1, 32), 'uint8'), np.zeros((1, 1))); assert list(store.folder.iterdir()) == []

def test_prune_keeps_what_was_used_last(tmp_path):
    for i in range(5): (tmp_path/str(i)).write_bytes(b'x'*100); os.utime(tmp_path/str(i), (i, i))
    prune(tmp_path, 250); assert sorted(p.name for p in tmp_path.iterdir()) == ['3', '4']

def test_hashes_follow_the_content(tmp_path):
    a = tmp_path/'a'; a.write_bytes(b'1'); one = content_hashes([a]); b = tmp_path/'b'; a.rename(b); assert (content_hashes([b]) == one).all()
    b.write_bytes(b'22'); assert (content_hashes([b]) != one).any()
    with pytest.raises(DataError, match='no such file'): content_hashes([a])

def test_a_damaged_image_is_found_although_others_are_known(films, cache, tmp_path):
    import shutil
    copy = shutil.copytree(films, tmp_path/'films'); t = read_table(copy); check_images(t); victim = t.path[3]
    data = open(victim, 'rb').read(); open(victim, 'wb').write(data[:len(data)//2])
    with pytest.raises(DataError, match='1 of 120 images cannot be read'): check_images(t)
    os.remove(victim)
    with pytest.raises(DataError, match='no such file'): check_images(t)

def test_known_images_are_not_opened_again(films, cache, monkeypatch):
    import leukocls.data as data
    t = read_table(films); check_images(t); opened = []
    monkeypatch.setattr(data, 'open_cell', lambda p: opened.append(p)); check_images(t); assert opened == []
