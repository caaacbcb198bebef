import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from leukocls.core.cache import Remembered, content_hashes, only_ours, prune
from leukocls.core.errors import DataError
from leukocls.core.files import cache_folder
from leukocls.data.table import check_images, read_table


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('LEUKOCLS_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cache'


def test_round_trip_whatever_the_order(cache):
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 256, (50, 32), dtype='uint8')
    rows = rng.random((50, 7)).astype('float32')
    store = Remembered('features', 'k')
    store.put(hashes[:20], rows[:20])
    store.put(hashes[20:40], rows[20:40])
    order = rng.permutation(50)
    got, there = Remembered('features', 'k').get(hashes[order])
    assert there.tolist() == [i < 40 for i in order] and np.array_equal(
        got[there], rows[order][there]
    )


def test_same_content_twice_gets_its_row_twice(cache):
    h = np.zeros((3, 32), 'uint8')
    h[1] = 1
    store = Remembered('features', 'k')
    store.put(h[:2], np.array([[1.0], [2.0]]))
    assert store.get(h)[0].ravel().tolist() == [1, 2, 1]


def test_files_about_other_images_are_not_read(cache, monkeypatch):
    "Only the names are looked at; a file whose rows are wanted is marked as used."
    store = Remembered('looks', 'k')
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 256, (9, 32), dtype='uint8')
    for i in range(3):
        store.put(hashes[3 * i : 3 * i + 3], np.full((3, 2), float(i)))
    for p in store.folder.iterdir():
        os.utime(p, (1, 1))
    read = []
    old = np.lib.npyio.NpzFile.__getitem__
    monkeypatch.setattr(
        np.lib.npyio.NpzFile, '__getitem__', lambda self, k: (read.append(k), old(self, k))[1]
    )
    rows, there = store.get(hashes[[4, 5]])
    assert (
        there.all()
        and rows.tolist() == [[1, 1]] * 2
        and read.count('rows') == 1
        and 1 <= read.count('hashes') <= 3
        and sum(p.stat().st_mtime > 1 for p in store.folder.iterdir()) == 1
    )  # where one file has all, no further one is opened
    read.clear()
    rows, there = store.get(hashes[[4, 7]])
    assert (
        there.all()
        and rows.tolist() == [[1, 1], [2, 2]]
        and read.count('rows') == 2
        and read.count('hashes') == 3
    )


def test_rows_with_named_fields(cache):
    h = np.random.default_rng(0).integers(0, 256, (4, 32), dtype='uint8')
    rows = np.zeros(4, [('word', 'U8'), ('n', 'i8'), ('picture', 'u1', (2, 2))])
    rows['word'] = list('abcd')
    rows['n'] = range(4)
    rows['picture'][2] = 7
    store = Remembered('looks', 'k')
    store.put(h[:3], rows[:3])
    got, there = store.get(h[::-1])
    assert there.tolist() == [False, True, True, True] and (got[1:] == rows[:3][::-1]).all()


@pytest.mark.skipif(os.name == 'nt', reason='no owners and modes there')
@pytest.mark.parametrize(
    'file,folder,mine',
    [
        (0o644, 0o755, True),
        (0o600, 0o700, True),
        (0o664, 0o755, False),
        (0o646, 0o755, False),
        (0o644, 0o775, False),
        (0o644, 0o757, False),
    ],
)
def test_code_is_taken_only_from_files_that_nobody_else_can_write(tmp_path, file, folder, mine):
    d = tmp_path / 'd'
    d.mkdir()
    p = d / 'a.pkl'
    p.write_bytes(b'code')
    p.chmod(file)
    d.chmod(folder)
    assert only_ours(p) == mine and not only_ours(d / 'none.pkl')


@pytest.mark.skipif(os.name == 'nt', reason='no owners there')
def test_another_owners_file_is_not_taken(tmp_path, monkeypatch):
    p = tmp_path / 'a.pkl'
    p.write_bytes(b'code')
    p.chmod(0o644)
    tmp_path.chmod(0o700)
    assert only_ours(p)
    monkeypatch.setattr(os, 'getuid', lambda: p.stat().st_uid + 1)
    assert not only_ours(p)


def test_writers_at_once(cache):
    def write(i):
        Remembered('features', 'k').put(np.full((1, 32), i, 'uint8'), np.array([[float(i)]]))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(32)))
    got, there = Remembered('features', 'k').get(
        np.repeat(np.arange(32, dtype='uint8')[:, None], 32, 1)
    )
    assert there.all() and got.ravel().tolist() == list(range(32))


@pytest.mark.parametrize('damage', [b'', b'PK\x03\x04 half', b'x' * 100])
def test_damaged_files_are_made_again(cache, damage):
    h = np.zeros((1, 32), 'uint8')
    store = Remembered('features', 'k')
    store.put(h, np.array([[1.0]]))
    for p in store.folder.iterdir():
        p.write_bytes(damage)
    assert not store.get(h)[1].any()
    store.put(h, np.array([[3.0]]))
    assert store.get(h)[0][0, 0] == 3


def test_nothing_is_unpickled(cache):
    "A file that somebody put there cannot run code."
    store = Remembered('features', 'k')
    np.savez(
        store.folder / 'k-evil.npz',
        hashes=np.zeros((1, 32), 'uint8'),
        rows=np.array([[object()]], dtype=object),
    )
    assert not store.get(np.zeros((1, 32), 'uint8'))[1].any()


def test_off_and_unwritable(tmp_path, monkeypatch):
    monkeypatch.setenv('LEUKOCLS_CACHE', 'off')
    assert cache_folder('x') is None
    Remembered('x', 'k').put(np.zeros((1, 32), 'uint8'), np.zeros((1, 1)))
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv('LEUKOCLS_CACHE', str(tmp_path / 'file'))
    assert cache_folder('x') is None


def test_full_disk_loses_nothing_but_time(cache, monkeypatch):
    import leukocls.core.files as core

    store = Remembered('features', 'k')

    def full(*a):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(core.os, 'fsync', full)
    store.put(np.zeros((1, 32), 'uint8'), np.zeros((1, 1)))
    assert list(store.folder.iterdir()) == []


def test_prune_keeps_what_was_used_last(tmp_path):
    for i in range(5):
        (tmp_path / str(i)).write_bytes(b'x' * 100)
        os.utime(tmp_path / str(i), (i, i))
    prune(tmp_path, 250)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['3', '4']


def test_hashes_follow_the_content(tmp_path):
    a = tmp_path / 'a'
    a.write_bytes(b'1')
    one = content_hashes([a])
    b = tmp_path / 'b'
    a.rename(b)
    assert (content_hashes([b]) == one).all()
    b.write_bytes(b'22')
    assert (content_hashes([b]) != one).any()
    with pytest.raises(DataError, match='no such file'):
        content_hashes([a])


def test_a_damaged_image_is_found_although_others_are_known(films, cache, tmp_path):
    import shutil

    copy = shutil.copytree(films, tmp_path / 'films')
    t = read_table(copy)
    check_images(t)
    victim = t.path[3]
    data = open(victim, 'rb').read()
    open(victim, 'wb').write(data[: len(data) // 2])
    with pytest.raises(DataError, match='1 of 120 images cannot be read'):
        check_images(t)
    os.remove(victim)
    with pytest.raises(DataError, match='no such file'):
        check_images(t)


def test_known_images_are_not_opened_again(films, cache, monkeypatch):
    import leukocls.data.table as data

    t = read_table(films)
    check_images(t)
    opened = []
    monkeypatch.setattr(data, 'open_cell', lambda p: opened.append(p))
    check_images(t)
    assert opened == []


# Looks


def decoded(monkeypatch):
    "Files that are decoded from now on."
    import leukocls.data.survey as looks
    import leukocls.data.table as data

    seen = []
    a, b = looks.look_at, data.open_cell
    monkeypatch.setattr(looks, 'look_at', lambda p, *ready: (seen.append(str(p)), a(p, *ready))[1])
    monkeypatch.setattr(data, 'open_cell', lambda p: (seen.append(str(p)), b(p))[1])
    return seen


def test_what_was_looked_at_is_not_decoded_again(films, cache, tmp_path, monkeypatch):
    "In another process, under other names, in another order; a new image among known ones is."
    import leukocls.data.survey as looks

    paths = sorted(map(str, films.glob('*/*')))[:20]
    Image.new('L', (9, 7), 3).save(tmp_path / 'grey.tif')
    Image.new('RGB', (40, 30), (9, 8, 7)).save(tmp_path / 'a.jpg', quality=33)
    paths += [str(tmp_path / 'grey.tif'), str(tmp_path / 'a.jpg')]
    seen = decoded(monkeypatch)
    first = looks.look(paths)
    assert len(seen) == 22
    seen.clear()
    copies = [shutil.copy(p, tmp_path / f'copy{i}') for i, p in enumerate(paths)]
    again = looks.look(copies[::-1])
    assert not seen
    pd.testing.assert_frame_equal(
        again.facts[::-1].reset_index(drop=True), first.facts, check_exact=True
    )
    assert (
        np.array_equal(again.thumbs[::-1], first.thumbs) and again.facts.quality.notna().sum() == 1
    )
    Image.new('RGB', (5, 5)).save(tmp_path / 'new.png')
    more = looks.look([*paths, tmp_path / 'new.png'])
    assert seen == [str(tmp_path / 'new.png')] and more.facts.width.iloc[-1] == 5
    pd.testing.assert_frame_equal(more.facts[:-1], first.facts, check_exact=True)


def test_unreadable_images_are_looked_at_again(films, cache, tmp_path, monkeypatch):
    "They may be mended; and a changed byte is another image."
    import leukocls.data.survey as looks

    p = tmp_path / 'a.png'
    p.write_bytes(b'no image')
    good = str(next(films.glob('*/*')))
    seen = decoded(monkeypatch)
    for _ in range(2):
        assert looks.look([good, p]).facts.error.tolist() == ['', 'not an image']
    assert seen == [good, str(p), str(p)]
    shutil.copy(good, p)
    assert looks.look([good, p]).facts.error.tolist() == ['', '']


def test_one_decoding_serves_check_split_and_steps(films, cache, tmp_path, quick, monkeypatch):
    """From folder to report no image is decoded for anything but the network and the pictures of
    the report; the second time, nothing else is.
    """
    from leukocls.runs.experiment import train_all

    seen = decoded(monkeypatch)
    train_all(films, quick, out=tmp_path / 'runs', epochs=1, progress=False, device='cpu')
    assert sorted(seen) == sorted(map(str, films.glob('*/*')))
    seen.clear()
    decoded(monkeypatch)
    train_all(films, quick, out=tmp_path / 'runs', epochs=1, progress=False, device='cpu')
    assert not seen
