"The measuring itself: every line is there, of both sides, and nothing is claimed that was not timed."

import json
import subprocess
import sys
import time

import pandas as pd
import pytest
import timm
from shell import leukocls

from leukocls.cli.bench import (
    LINES,
    bench,
    bench_chart,
    bound,
    in_turns,
    matrix_rate,
    operations,
    row,
)
from leukocls.data.films import draw_films


def test_turns_are_medians():
    naps = iter([0.05, 0.001, 0.001, 0.001])
    a, b = in_turns(lambda: time.sleep(next(naps)), lambda: time.sleep(0.02))
    assert a < 0.02 <= b


@pytest.mark.parametrize(
    'unit,ours,theirs,ratio', [('s', 2, 10, 5), ('ms', 2, 10, 5), ('images/s', 10, 2, 5)]
)
def test_a_ratio_above_one_is_faster(unit, ours, theirs, ratio):
    assert row('x', ours, theirs, unit)['ratio'] == ratio


def test_operations_are_counted_as_papers_do():
    "ResNet-18 at 224 takes 1.8 thousand million multiplications with addition (He et al. 2015)."
    assert 3.5e9 < operations(timm.create_model('resnet18')) < 3.7e9


def test_the_help_names_every_line():
    from leukocls.cli.commands import _BenchOnly

    (option,) = _BenchOnly.__metadata__
    assert option.help == f'{", ".join(LINES)}; repeat it for several.'


def test_what_it_waits_for():
    assert bound(90, 100, 1000).startswith('arithmetic')
    assert bound(90, 1000, 100).startswith('decoding')
    assert bound(10, 1000, 1000).startswith('memory traffic')


def test_any_processor_reaches_a_hundred_million_operations():
    assert matrix_rate(sides=(128,)) > 1e8


@pytest.mark.parametrize(
    'options,words',
    [
        (('--out', 'file'), 'is a file, and nothing can be written below it'),
        (('--json', 'file/x.json'), 'is a file'),
        (('--arch', 'nosuchnet'), 'No network is named `nosuchnet`'),
        (('--only', 'latency/nosuchnet'), 'No network is named'),
    ],
)
def test_a_slip_is_an_error_before_anything_is_measured(options, words, tmp_path):
    (tmp_path / 'file').touch()
    done = leukocls('bench', '--quick', '--only', 'import', *options, cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert 'Traceback' not in done.stderr
    assert 'ours' not in done.stdout


def test_one_line_of_one_network(tmp_path):
    t = bench(
        draw_films(tmp_path, patients=4, images=4, size=64),
        quick=True,
        only=['latency/test_efficientnet'],
        n=16,
        say=lambda line: None,
    )
    assert t.name.tolist() == ['latency/test_efficientnet']
    assert t.attrs['images'] == {'latency/test_efficientnet': 16}


@pytest.mark.slow
def test_bench_from_the_shell(tmp_path):
    films = draw_films(tmp_path / 'f', patients=4, images=6, size=64)
    options = '--quick --images 24 --arch test_efficientnet --json b.json --out out'.split()
    done = subprocess.run(
        [sys.executable, '-m', 'leukocls', 'bench', str(films), *options],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-1500:]
    lines = json.loads((tmp_path / 'b.json').read_text())
    assert [line['name'] for line in lines] == [
        'import',
        'decode',
        'train/test_efficientnet',
        'features/test_efficientnet',
        'predict/test_efficientnet',
        'latency/test_efficientnet',
        'probe',
        'probe-cached',
        'tune',
    ]
    for line in lines:
        assert set(line) == {'name', 'ours', 'fastai', 'unit', 'ratio', 'limit', 'bound_by'}
        assert line['ours'] > 0 and line['fastai'] > 0
        assert line['bound_by']
    assert (tmp_path / 'out/bench.png').stat().st_size > 5000
    table = pd.read_csv(tmp_path / 'out/bench.csv')
    assert len(table) == len(lines)
    assert table.command.str.startswith('python -m leukocls bench ').all()
    assert (table.images.to_numpy()[1:] > 16).all()
    assert table[['cores', 'torch', 'fastai_version']].notna().all(axis=None)
    assert (tmp_path / 'out/bench.md').read_text().count('|\n') == len(lines) + 2


def test_the_chart_is_drawn_from_the_committed_table(root):
    """What `leukocls bench --out` draws; the import lies inside the function, so only a call shows
    that it works.
    """
    table = pd.read_csv(root / 'results/bench-2cores.csv')
    fig = bench_chart(table)
    assert fig.axes
    assert len(fig.axes[0].patches) >= table.ratio.notna().sum()
