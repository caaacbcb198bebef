"The measuring itself: every line is there, of both sides, and nothing is claimed that was not timed."

import json
import subprocess
import sys

import pandas as pd
import pytest

from leukocls.bench import bound, in_turns, matrix_rate, operations, row


def test_turns_are_medians():
    import time

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
    import timm

    assert 3.5e9 < operations(timm.create_model('resnet18')) < 3.7e9


def test_what_it_waits_for():
    assert (
        bound(90, 100, 1000).startswith('arithmetic')
        and bound(90, 1000, 100).startswith('decoding')
        and bound(10, 1000, 1000).startswith('memory traffic')
    )
    assert matrix_rate(sides=(128,)) > 1e8


def test_bench_is_told_before_it_measures(tmp_path):
    (tmp_path / 'file').touch()

    def say(*words):
        return subprocess.run(
            [sys.executable, '-m', 'leukocls', 'bench', '--quick', '--only', 'import', *words],
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )

    for words, said in (
        (('--out', 'file'), 'is a file, and nothing can be written below it'),
        (('--json', 'file/x.json'), 'is a file'),
        (('--arch', 'nosuchnet'), 'No network is named `nosuchnet`'),
        (('--only', 'latency/nosuchnet'), 'No network is named'),
    ):
        got = say(*words)
        assert (
            got.returncode == 2
            and said in got.stderr
            and 'Traceback' not in got.stderr
            and 'ours' not in got.stdout
        ), got.stderr


def test_one_line_of_one_network(tmp_path):
    from leukocls.bench import bench
    from leukocls.smears import draw_films

    t = bench(
        draw_films(tmp_path, patients=4, images=4, size=64),
        quick=True,
        only=['latency/mobilenetv2_035'],
        n=16,
        say=lambda line: None,
    )
    assert t.name.tolist() == ['latency/mobilenetv2_035'] and t.attrs['images'] == {
        'latency/mobilenetv2_035': 16
    }


@pytest.mark.slow
def test_bench_from_the_shell(films, local_weights, tmp_path):
    from leukocls.smears import draw_films

    d = draw_films(tmp_path / 'f', patients=4, images=6, size=64)
    done = subprocess.run(
        [
            sys.executable,
            '-m',
            'leukocls',
            'bench',
            str(d),
            '--quick',
            '--images',
            '48',
            '--arch',
            'mobilenetv2_035',
            '--json',
            str(tmp_path / 'b.json'),
            '--out',
            str(tmp_path / 'out'),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-1500:]
    lines = json.loads((tmp_path / 'b.json').read_text())
    assert [l['name'] for l in lines] == [
        'import',
        'decode',
        *(f'{k}/mobilenetv2_035' for k in ('train', 'features', 'predict', 'latency')),
        'probe',
        'probe-cached',
    ]
    assert all(
        set(l) == {'name', 'ours', 'fastai', 'unit', 'ratio', 'limit', 'bound_by'}
        and l['ours'] > 0
        and l['fastai'] > 0
        and l['bound_by']
        for l in lines
    )
    assert (
        (tmp_path / 'out/bench.png').stat().st_size > 5000
        and len(kept := pd.read_csv(tmp_path / 'out/bench.csv')) == len(lines)
        and kept.command.str.startswith('python -m leukocls bench ').all()
        and (kept.images.to_numpy()[1:] > 16).all()
        and kept[['cores', 'torch', 'fastai_version']].notna().all(axis=None)
        and (tmp_path / 'out/bench.md').read_text().count('|\n') == len(lines) + 2
    )


def test_the_chart_is_drawn_from_the_committed_table(root):
    """What `leukocls bench --out` draws; the import lies inside the function, so only a call shows
    that it works.
    """
    import pandas as pd

    from leukocls.bench import bench_chart

    table = pd.read_csv(root / 'results/bench-2cores.csv')
    fig = bench_chart(table)
    assert fig.axes and len(fig.axes[0].patches) >= table.ratio.notna().sum()
