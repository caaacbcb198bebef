"A learner.pkl goes from one operating system to another."

import io
import pathlib
import pickle
import pickletools
import sys
import zipfile

import pytest
import torch

from leukocls.core.errors import ModelError
from leukocls.deploy.conversion import convert_pickle
from leukocls.deploy.torchfile import read_pickle
from leukocls.models.predictor import open_pickle, portable_pickle, predict_images
from leukocls.runs.run import Run

# a class of the other system: it can be named in a pickle here, and not be made
FOREIGN = pathlib.PosixPath if sys.platform == 'win32' else pathlib.WindowsPath


def names_in(path):
    "Everything that the pickle of a file imports."
    with zipfile.ZipFile(path) as z:
        data = z.read(next(n for n in z.namelist() if n.endswith('data.pkl')))
    steps = [(step.name, arg) for step, arg, _ in pickletools.genops(data)]
    return {arg.replace(' ', '.') for name, arg in steps if name == 'GLOBAL'}


class ForeignWriter(pickle.Pickler):
    "Writes paths as the other operating system does."

    def reducer_override(self, o):
        if isinstance(o, pathlib.Path):
            return FOREIGN, o.parts
        return NotImplemented


def foreign_pickle():
    module = portable_pickle()
    module.Pickler = ForeignWriter
    return module


@pytest.fixture
def foreign(run, tmp_path):
    "learner.pkl as the other operating system writes it."
    learn = Run(run.folder).learner
    learn.path = learn.dls.path = pathlib.Path('somewhere/else')
    learn.export((tmp_path / 'foreign.pkl').absolute(), pickle_module=foreign_pickle())
    return tmp_path / 'foreign.pkl'


def test_a_runs_pickle_names_no_systems_paths(run):
    names = names_in(run.folder / 'learner.pkl')
    assert 'pathlib.Path' in names, 'the test looks at the wrong thing'
    assert not [name for name in names if 'PosixPath' in name or 'WindowsPath' in name]


def test_plain_pickle_reads_what_is_written():
    paths = [pathlib.Path('.'), pathlib.Path('a/b'), pathlib.Path('/x'), pathlib.PurePosixPath('p')]
    for protocol in (2, 4, 5):
        file = io.BytesIO()
        portable_pickle().Pickler(file, protocol).dump(paths)
        assert pickle.loads(file.getvalue()) == paths


def test_a_class_that_a_function_made_can_be_written(run, tmp_path):
    "As an augmentation of a user's own in a notebook or a function."
    from fastai.vision.augment import RandTransform

    class Specks(RandTransform):
        def encodes(self, x: str):
            return x

    learn = Run(run.folder).learner
    learn.dls.after_batch.add(Specks())
    learn.export((tmp_path / 'own.pkl').absolute(), pickle_module=portable_pickle())
    names = [type(t).__name__ for t in open_pickle(tmp_path / 'own.pkl', True).dls.after_batch.fs]
    assert 'Specks' in names


def test_what_no_pickle_holds_does_not_cost_the_run(run, tmp_path, capsys):
    import threading

    from leukocls.train.learners import write_learner

    learn = Run(run.folder).learner
    learn.model.lock = threading.Lock()
    write_learner(learn, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ['model.safetensors']
    assert 'learner.pkl was not written: TypeError' in capsys.readouterr().err


def test_plain_fastai_opens_it(run, table, plain_fastai):
    files = [str(p) for p in table.path[:2]]
    answers = plain_fastai(run.folder / 'learner.pkl', files)
    want = predict_images(Run(run.folder).learner, files)
    assert [label for label, _ in answers] == list(want.pred)


def test_a_pickle_of_the_other_system_opens(foreign, run, table):
    assert FOREIGN.__name__ in ' '.join(names_in(foreign))
    with pytest.raises(Exception, match='cannot instantiate|unsupported|system'):
        torch.load(foreign, weights_only=False)
    learn = open_pickle(foreign, trust=True)
    assert learn.path == pathlib.Path('somewhere/else')
    p = predict_images(learn, table.path[:3]).filter(like='p_')
    want = predict_images(Run(run.folder).learner, table.path[:3]).filter(like='p_')
    assert (p - want).abs().max().max() < 1e-5


def test_it_is_read_without_running_too(foreign, tmp_path):
    "The reader of strangers' pickles, and the bundle that comes of it."
    held, named = read_pickle(foreign)
    assert f'pathlib.{FOREIGN.__name__}' in named and held.where.endswith('Learner')
    bundle = convert_pickle(foreign, tmp_path / 'bundle')
    assert len(bundle.config['classes']) == 4


def test_what_else_is_wrong_is_still_said(tmp_path):
    torch.save(dict(a=pathlib.Path('x')), tmp_path / 'x.pkl', pickle_module=foreign_pickle())
    with pytest.raises(ModelError, match='cannot be opened as a fastai learner: AttributeError'):
        open_pickle(tmp_path / 'x.pkl', trust=True)
