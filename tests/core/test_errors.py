"""Errors hold what is wrong, where and what helps as fields; Python and the shell word the same
facts.
"""

import importlib
import re
from pathlib import Path

import pandas as pd
import pytest

from leukocls.core.errors import DataError, Given, LeukoError, Option
from leukocls.core.files import OddFileError, odd_file

PACKAGE = Path(__file__).parents[2] / 'leukocls'


@pytest.mark.parametrize(
    'option,python,shell',
    [
        (Option('on_error', 'skip'), 'on_error="skip"', '--on-error skip'),
        (Option('trust', True), 'trust=True', '--trust'),
        (Option('patient', ...), 'patient=…', '--patient …'),
        (Option('out', 'a b'), 'out="a b"', "--out 'a b'"),
        (Option('seeds', (0, 1)), 'seeds=(0, 1)', '--seeds 0,1'),
        (Given('split', 'hospital'), "split='hospital'", '--split hospital'),
    ],
)
def test_an_option_in_both_words(option, python, shell):
    assert option.in_python() == python and option.in_shell() == shell


def test_a_name_like_an_option_is_left_as_it_is():
    "The words of an error were once searched for options: a file called so was renamed in them."
    error = DataError('on_error="skip".png: zero bytes.', option=('on_error', 'skip'))
    assert error.in_shell() == 'on_error="skip".png: zero bytes. Add --on-error skip.'


def test_only_options_that_the_command_has():
    error = DataError('No.', option=[('split', 'random'), ('on_error', 'skip')], advice='Look')
    assert str(error) == 'No. Look, or pass split="random", or pass on_error="skip".'
    assert error.in_shell({'on_error'}) == 'No. Look, or add --on-error skip.'
    assert error.in_shell(()) == 'No. Look.'


def test_fields_of_real_errors(tmp_path):
    from leukocls.data.splits import split_table
    from leukocls.data.table import read_table

    there = tmp_path / 'c.png'
    there.write_bytes(b'here')
    table = pd.DataFrame(dict(path=['a.png', 'b.png', there], label=['x', 'y', 'x']))
    with pytest.raises(DataError) as e:
        read_table(table, on_error='keep')
    assert e.value.where == Given('on_error', 'keep')
    with pytest.raises(DataError) as e:
        read_table(table)
    assert e.value.option[0].value == 'skip' and len(e.value.where) == 2
    assert str(e.value).endswith('or pass on_error="skip" to leave them out.')
    assert e.value.in_shell().endswith('or add --on-error skip to leave them out.')
    with pytest.raises(DataError) as e:
        split_table(table, 'hospital')
    assert e.value.where == Given('split', 'hospital') and '--split hospital' in e.value.in_shell()
    odd = odd_file('pipe', 'a pipe, not a file')
    assert isinstance(odd, OddFileError) and odd.where == 'pipe' and odd.strerror == odd.reason


def test_no_error_holds_advice_in_its_words():
    "What would help is an `Option`, so that each side can word it."
    written = re.compile(r'(on_error|split|engine|weights|arch|test_pct|valid_pct)=("|…)')
    for path in sorted(PACKAGE.rglob('*.py')):
        for raised in re.findall(r'raise \w*Error\((?:.|\n)*?\n    \S', path.read_text('utf8')):
            assert not written.search(raised), f'{path}: {raised}'
    assert issubclass(DataError, LeukoError)


def _nothing(*args):
    return 0


WRONG_CALLS = [
    ('leukocls.models.engines', 'register_engine', ('mine', object), 'EngineKind('),
    ('leukocls.models.engines', 'register_engine', (object,), 'EngineKind('),
    ('leukocls.train.kinds', 'register_kind', ('mine', _nothing), 'Kind('),
    ('leukocls.train.recipes', 'register_recipe', ('mine',), "name='mine'"),
    ('leukocls.train.recipes', 'register_recipe', (), "name='mine'"),
    ('leukocls.train.augment', 'register_augmentation', ('mine',), "'mine', make"),
    ('leukocls.train.augment', 'register_augmentation', (['mine'], _nothing), 'needs a name'),
    ('leukocls.data.splits', 'register_split', ('mine', _nothing), 'lambda table'),
    ('leukocls.data.splits', 'register_split', ('mine', 'source', 'A note.'), 'no function'),
    ('leukocls.measure.metrics', 'register_metric', ('mine', _nothing), "name='mine'"),
    ('leukocls.measure.metrics', 'register_metric', ('mine',), 'no function'),
    ('leukocls.report.page', 'section', (_nothing,), "@section('My part')"),
]


@pytest.mark.parametrize('module,function,args,advice', WRONG_CALLS)
def test_a_part_that_cannot_be_registered_is_a_sentence(module, function, args, advice):
    "Whoever registers a part of their own wrongly is shown a right call, not a TypeError."
    register = getattr(importlib.import_module(module), function)
    with pytest.raises(LeukoError) as e:
        register(*args)
    assert advice in str(e.value)
