"The classifier: the same pixels as in training, a row for every file, and nothing lost when it is killed."

import os
import random
import re
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from shell import program

from leukocls.core.errors import DataError, LeukoError, RunError
from leukocls.deploy.bundle import Bundle
from leukocls.deploy.classifier import Classifier, Prediction, write_table
from leukocls.measure.abstention import decide


@pytest.fixture(scope='module')
def clf(small_bundle):
    return Classifier.load(small_bundle, 'onnxruntime')


@pytest.fixture(scope='module')
def awkward(tmp_path_factory):
    "Images that a microscope, a scanner or a telephone may write."
    d = tmp_path_factory.mktemp('awkward')
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    im = Image.fromarray(a)
    exif = Image.Exif()
    exif[0x112] = 6
    im.save(d / 'turned.jpg', exif=exif, quality=95)
    Image.fromarray(rng.integers(0, 65536, (40, 40), dtype=np.uint16)).save(d / 'deep.png')
    Image.fromarray(rng.integers(0, 65536, (40, 40), dtype=np.uint16)).save(d / 'deep.tif')
    im.convert('CMYK').save(d / 'cmyk.jpg')
    im.quantize(16).save(d / 'palette.png')
    im.convert('1').save(d / 'bits.png')
    im.convert('LA').save(d / 'alpha.png')
    Image.fromarray(rng.random((20, 20)).astype('float32')).save(d / 'float.tif')
    Image.new('RGB', (1, 1), (200, 10, 30)).save(d / 'one.png')
    Image.new('RGB', (2000, 1)).save(d / 'line.png')
    im.save(d / 'wrong.png', 'JPEG')
    Image.new('L', (10_000, 10_000), 128).save(d / 'large.png')
    return sorted(map(str, d.iterdir()))


def test_same_pixels_as_in_training(clf, run, awkward):
    "Bit by bit what fastai's loader gives the network."
    learn = run.learner
    assert not [t for t in learn.dls.valid.after_batch.fs if type(t).__name__ == 'Normalize']
    for f in awkward:
        batch = (
            learn.dls.test_dl([f], rm_type_tfms=0, num_workers=0)
            .one_batch()[0][0]
            .permute(1, 2, 0)
            .numpy()
        )
        assert (np.round(batch * 255).astype('uint8') == clf.pixels.read(f)).all() and np.abs(
            batch * 255 - np.round(batch * 255)
        ).max() < 1e-3, f


@pytest.mark.once
def test_same_answers_whatever_the_source(clf, awkward):
    for f in awkward:
        with open(f, 'rb') as g:
            data = g.read()
        with Image.open(f) as im:
            im.load()
            a, b, c = clf(f), clf(data), clf(im)
        assert a.probabilities == b.probabilities == c.probabilities and not a.error, f
    many = clf.many(awkward * 3)
    one = [clf(f) for f in awkward]
    assert [p.label for p in many] == [p.label for p in one] * 3 and [
        p.name for p in many
    ] == awkward * 3
    assert (
        max(
            abs(p.probabilities[c] - q.probabilities[c])
            for p, q in zip(many, one * 3)
            for c in clf.classes
        )
        < 1e-5
    )


def test_what_export_gave_can_be_loaded(small_bundle, clf, run):
    from leukocls.deploy.bundle import Bundle

    assert Classifier.load(Bundle(small_bundle), 'onnxruntime').key == clf.key
    with pytest.raises(LeukoError, match='no bundle'):
        Classifier.load(run)


@pytest.mark.parametrize('name', ['t.parquet', 't.xlsx', 't'])
def test_a_table_of_a_bundle_is_csv(clf, run, tmp_path, name):
    with pytest.raises(RunError, match='ends in .csv'):
        write_table(clf, run.table.path[:2], tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_as_the_run_says(clf, run):
    held = run.predictions[run.predictions.split == 'test']
    raw = held[[f'p_{c}' for c in clf.classes]].to_numpy()
    p, sets, why = decide(raw, clf.classes, clf.config['calibration'])
    for o, q, s, w, label in zip(clf.many(held.path), p, sets, why, held.pred):
        assert (
            o.label == label
            and np.abs(np.array(list(o.probabilities.values())) - q).max() < 1e-4
            and o.classes == s
            and (o.why == w or o.in_domain is False)
        )


def test_gate_and_faults(clf, run, tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / 'empty.png').write_bytes(b'')
    (tmp_path / 'text.png').write_text('hello')
    strange = [
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)),
        Image.new('RGB', (64, 64), (255, 255, 255)),
    ]
    got = clf.many(
        [
            *strange,
            tmp_path / 'empty.png',
            tmp_path / 'text.png',
            tmp_path / 'absent.png',
            tmp_path,
            b'',
            b'\x89PNG\r\n\x1a\n',
        ]
    )
    assert [p.in_domain for p in got[:2]] == [False, False] and all(
        p.refer and p.why for p in got[:2]
    )
    assert all(p.error and not p.label and not p.probabilities for p in got[2:])
    assert all('not to be relied on' in str(p) for p in got[:2])
    assert '<img' in clf(run.table.path[0])._repr_html_()
    genuine = [p for p in clf.many(run.table.path[run.table.split == 'train'])]
    assert np.mean([p.in_domain for p in genuine]) > 0.8


@pytest.mark.once
def test_html_is_harmless():
    assert (
        '<script>'
        not in Prediction(
            '<script>alert(1)</script>',
            'a',
            {'a<script>': 1.0, 'a': 0.0},
            why='<script>',
            refer=True,
            warnings=['<script>'],
        )._repr_html_()
    )


@pytest.mark.once
def test_memory_of_a_stream(clf, run):
    "However many images: they are asked for as they are needed."
    asked = []

    def images():
        for i in range(2000):
            asked.append(i)
            yield run.table.path[i % len(run.table)]

    out = clf.stream(images())
    first = [next(out) for _ in range(5)]
    assert len(first) == 5 and len(asked) < 300
    out.close()


class Counting:
    "What a classifier is asked for; it stops after so many answers."

    def __init__(self, clf, monkeypatch, until=None):
        self.asked = []

        def stream(paths, names=None):
            for n, p in enumerate(Classifier.stream(clf, paths, names)):
                if n == until:
                    raise KeyboardInterrupt
                self.asked.append(p.name)
                yield p

        monkeypatch.setattr(clf, 'stream', stream, raising=False)


def stopped(clf, paths, out, monkeypatch):
    "The hidden file of a table of which all rows are there."
    with monkeypatch.context() as m:
        m.setattr('leukocls.core.resumed._assemble', lambda *a: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            write_table(clf, paths, out, overwrite=True, progress=False)
    return out.with_name(f'.{out.name}.{clf.key}.part')


@pytest.mark.once
@pytest.mark.parametrize('where', [0.0, 0.01, 0.3, 0.5, 0.77, 0.999])
def test_goes_on_after_any_cut(clf, run, tmp_path, monkeypatch, where):
    paths = run.table.path.tolist()
    odd = tmp_path / 'a "quoted",\nname.png'
    odd.write_bytes(b'no image')
    paths = [str(odd), *paths, str(odd)]
    out = tmp_path / 'r.csv'
    write_table(clf, paths, out, progress=False)
    whole = out.read_bytes()
    part = stopped(clf, paths, out, monkeypatch)
    out.unlink()
    content = part.read_bytes()
    part.write_bytes(content[: int(len(content) * where)])
    done = max(0, part.read_bytes().count(b'\n') - 1)
    counting = Counting(clf, monkeypatch)
    write_table(clf, paths, out, progress=False)
    assert out.read_bytes() == whole and not part.exists()
    assert counting.asked == paths[done:-1], 'no row is asked for twice'
    t = pd.read_csv(out)
    assert (
        t.path.tolist() == paths
        and (t.error.notna() == [True, *[False] * len(run.table), True]).all()
    )


@pytest.mark.once
def test_starts_again_for_other_files(clf, run, tmp_path, monkeypatch):
    "Also after what an older version left: the beginning of the table itself."
    paths = run.table.path.tolist()
    out = tmp_path / 'r.csv'
    write_table(clf, paths, out, progress=False)
    whole = out.read_bytes()
    part = tmp_path / f'.r.csv.{clf.key}.part'
    part.write_bytes(whole[: len(whole) // 2])
    out.unlink()
    write_table(clf, paths[::-1], out, progress=False)
    assert pd.read_csv(out).path.tolist() == paths[::-1]
    part.write_bytes(b'\x00\xff garbage, "')
    write_table(clf, paths, out, overwrite=True, progress=False)
    assert out.read_bytes() == whole
    part = stopped(clf, paths[:9], out, monkeypatch)
    out.unlink()
    counting = Counting(clf, monkeypatch)
    write_table(clf, paths[5:20][::-1], out, progress=False)
    assert pd.read_csv(out).path.tolist() == paths[5:20][::-1]
    assert counting.asked == paths[9:20][::-1]


@pytest.mark.once
def test_two_at_once(clf, run, tmp_path):
    fcntl = pytest.importorskip('fcntl')
    part = tmp_path / f'.r.csv.{clf.key}.part'
    with open(part, 'ab') as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        with pytest.raises(RunError, match='Another process is writing'):
            write_table(clf, run.table.path, tmp_path / 'r.csv', progress=False)


@pytest.mark.once
def test_refusals(clf, run, tmp_path):
    (tmp_path / 'r.csv').write_text('mine')
    (tmp_path / 'none').mkdir()
    with pytest.raises(RunError, match='exists already'):
        clf.folder(os.path.dirname(run.table.path[0]), tmp_path / 'r.csv')
    assert (tmp_path / 'r.csv').read_text() == 'mine'
    with pytest.raises(DataError, match='holds no image'):
        clf.folder(tmp_path / 'none', tmp_path / 'x.csv')
    with pytest.raises(RunError, match='Cannot write'):
        write_table(clf, run.table.path, tmp_path / 'r.csv' / 'x.csv', progress=False)
    with pytest.raises(DataError, match='No images'):
        write_table(clf, [], tmp_path / 'x.csv')


@pytest.mark.once
@pytest.mark.slow
def test_killed_five_times(small_bundle, run, tmp_path):
    """kill -9 at random moments among 2,000 images: the table is complete, in order, without
    repeats, and what was there is not done again.
    """
    d = tmp_path / 'cells'
    d.mkdir()
    some = [open(p, 'rb').read() for p in run.table.path[:20]]
    for i in range(2000):
        (d / f'{i:05d}.png').write_bytes(some[i % 20])
    code = (
        "import sys; from leukocls.deploy.classifier import Classifier; clf ="
        f" Classifier.load({str(small_bundle)!r}, 'onnxruntime'); real = clf.engine.start\ndef"
        " slow(x): import time; time.sleep(.02); return real(x)\nclf.engine.start = slow;"
        f" clf.folder({str(d)!r}, {str(tmp_path / 'r.csv')!r}, progress=True)"
    )
    rng = random.Random(time.time_ns())
    marks = sorted(rng.sample(range(1, 1700), 5))
    seen = []
    for mark in marks:
        p = program(code, tmp_path)

        def rows():
            return sum(f.read_bytes().count(b'\n') for f in tmp_path.glob('.r.csv.*.part'))

        while p.is_alive() and rows() <= mark:
            time.sleep(0.002)
        assert p.is_alive(), 'it was done before it could be killed'
        time.sleep(rng.random() * 0.02)
        p.kill()
        p.join()
        seen.append(rows())
        assert not (tmp_path / 'r.csv').exists()
    last = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert last.returncode == 0, last.stderr
    went_on = int(
        re.search(r'([\d,]+) of 2,000 rows were there already', last.stderr)[1].replace(',', '')
    )
    assert went_on >= seen[-1] - 2 and seen == sorted(seen)
    t = pd.read_csv(tmp_path / 'r.csv')
    assert (
        t.path.tolist() == [str(d / f'{i:05d}.png') for i in range(2000)]
        and t.pred.notna().all()
        and not list(tmp_path.glob('.r.csv*'))
    )


BLOCKED = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        top = name.split('.')[0]
        if top in ('torch', 'torchvision', 'fastai', 'timm'):
            raise ModuleNotFoundError(f"No module named '{name}'", name=top)

sys.meta_path.insert(0, Block())
"""
ASK_ALL = """
import os
from leukocls import Classifier
from leukocls.cli.commands import main

bundle, image, out = sys.argv[1:]
folder = os.path.dirname(image)
clf = Classifier.load(bundle)
assert clf(image).label and clf.heat(image).shape == (8, 8) and clf.nearest(image)
assert len(clf.many([image] * 3)) == 3
clf.folder(folder, out, progress=False)
assert clf.evaluate(os.path.dirname(folder))['n'] > 9
try:
    main(['demo'])
except SystemExit as e:
    assert e.code == 2
try:
    from leukocls import cell_learner
except ImportError as e:
    assert 'leukocls[train]' in str(e)
else:
    raise AssertionError
print('fine')
"""


def test_needs_neither_torch_nor_fastai(small_bundle, run, tmp_path):
    words = [str(small_bundle), run.table.path[0], str(tmp_path / 'r.csv')]
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', BLOCKED + ASK_ALL, *words],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0 and done.stdout.strip().endswith('fine'), done.stderr
    assert 'leukocls[train]' in done.stderr and 'Traceback' not in done.stderr


@pytest.mark.once
def test_serve_asks_for_neither(root):
    from configparser import ConfigParser

    c = ConfigParser(delimiters=['='])
    c.read(root / 'settings.ini')
    words = (c['DEFAULT']['requirements'] + ' ' + c['DEFAULT']['serve_requirements']).split()
    assert not [w for w in words if re.match(r'(torch|torchvision|fastai|timm)\b', w)] and [
        w for w in words if w.startswith('onnxruntime')
    ]


def test_no_table_into_a_bundle(small_bundle, table, tmp_path):
    "A table among a bundle's files would make the next command refuse the bundle."
    import shutil

    copy = shutil.copytree(small_bundle, tmp_path / 'bundle')
    clf = Classifier.load(copy)
    for out in (copy / 'result.csv', copy / 'deeper' / 'result.csv'):
        with pytest.raises(RunError, match='would lie in the bundle'):
            write_table(clf, list(table.path[:2]), out, progress=False)
    assert Bundle(copy).verify()
