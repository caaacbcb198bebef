"Figures of reports and notebooks: what they show of themselves, and what is written on their axes."

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib import rc_context

from leukocls.core.figures import new_figure
from leukocls.report.plots import plot_lines, plot_lr_find, worst_first

NOTEBOOK = """
import sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.display_formatter.active_types = shell.display_formatter.format_types
for cell in sys.argv[1:]:
    done = shell.run_cell(cell)
    done.raise_error()
assert 'matplotlib.pyplot' not in sys.modules, 'somebody taught IPython to show figures'
print('SHOWN', *shell.display_formatter.format(done.result)[0])
"""


def kinds_shown(*cells):
    "Media types that a fresh notebook shows of the last cell's value."
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', NOTEBOOK, *cells],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-1000:]
    return done.stdout.splitlines()[-1].split()[1:]


@pytest.mark.once
def test_the_first_plot_of_a_session_is_a_picture(run):
    "In whatever runs IPython: Jupyter, Kaggle, Colab, VS Code."
    pytest.importorskip('IPython')
    made = f'from leukocls.runs.run import Run, Runs; runs = Runs([Run({str(run.folder)!r})])'
    assert 'image/png' in kinds_shown(made, 'runs.plot()')
    made = 'from leukocls.report.plots import plot_loss; import pandas as pd'
    history = 'pd.DataFrame(dict(epoch=[1, 2], train_loss=[1, 0.5]))'
    assert 'image/png' in kinds_shown(made, f'plot_loss({history})')


def tick_labels(fig):
    axes = [axis for ax in fig.axes for axis in (ax.xaxis, ax.yaxis)]
    labels = [label.get_text() for axis in axes for label in axis.get_ticklabels(which='both')]
    return [text for text in labels if text]


@pytest.mark.parametrize('ends', [(-7, 1), (-3.3, -2.6), (-9, -8)])
@pytest.mark.parametrize('math_text', [True, False])
def test_rates_are_written_in_plain_text(ends, math_text):
    "A report is drawn with math text switched off: `$\\mathdefault{10^{-7}}$` stood on its axis."
    rates = np.logspace(*ends, 50)
    curve = pd.DataFrame(dict(lr=rates, loss=1 + (np.log10(rates) + 3) ** 2))
    with rc_context({'text.parse_math': math_text}):
        fig = plot_lr_find(curve, 1e-3)
        fig._repr_png_()
        labels = tick_labels(fig)
    assert len(labels) > 4 and not [text for text in labels if '$' in text or '\\' in text]
    # in figures' own minus sign
    assert f'1e−{-int(ends[1]):02d}' in labels or '1' in labels


def test_a_loss_that_explodes_leaves_room_for_the_rest_of_the_curve():
    "The axis went down to -60 where the last loss was 1,000."
    curve = pd.DataFrame(dict(lr=np.logspace(-7, 1, 50), loss=[2.0] * 30 + [1.0] * 18 + [9, 1000]))
    low, high = plot_lr_find(curve, 1e-3).axes[0].get_ylim()
    assert 0.8 < low < 1 and 2 < high < 4


def test_no_axis_of_a_report_holds_math_text(run):
    from leukocls.report.page import RunFiles, _plots

    with rc_context({'text.parse_math': False}):
        figures = _plots(RunFiles(run.folder))
        for name, fig in figures.items():
            fig._repr_png_()
            assert not [text for text in tick_labels(fig) if '$' in text], name


def test_a_figure_is_shown_whole():
    "What lies beside the axes is on the picture too."
    from io import BytesIO

    from PIL import Image

    history = pd.DataFrame(dict(epoch=[1, 2], a=[1, 2]))
    with Image.open(BytesIO(plot_lines(history, dict(a='a'), 'a')._repr_png_())) as im:
        assert im.size[0] > 300 and im.size[1] > 250
    assert new_figure()[0]._repr_png_()[:4] == b'\x89PNG'


HOSTILE_NAME = '$x^{$'


def test_names_are_no_formulas_and_settings_stay(run, tmp_path):
    """A class named like a formula stopped `plot_confusion`, and the report switched math text off
    for the whole program while it drew.
    """
    import matplotlib

    from leukocls.report.plots import plot_classes, plot_confusion, plot_images, plot_patients

    before = dict(matplotlib.rcParams)
    metrics = dict(confusion=[[3, 1], [0, 2]], classes=[HOSTILE_NAME, 'a$b$'])
    table = pd.DataFrame(dict(label=[HOSTILE_NAME, 'b'], split=['train', 'test']))
    patient = dict(patient=HOSTILE_NAME, label='b', n=3, accuracy=0.5, low=0.1, high=0.9)
    picture = np.zeros((8, 8, 3), 'uint8')
    figures = [
        plot_confusion(metrics, stamp=HOSTILE_NAME),
        plot_classes(table, HOSTILE_NAME),
        plot_patients(pd.DataFrame([patient])),
        plot_images([picture], [HOSTILE_NAME], title=HOSTILE_NAME),
        plot_lines(pd.DataFrame(dict(epoch=[1, 2], a=[1, 2])), dict(a=HOSTILE_NAME), HOSTILE_NAME),
    ]
    for fig in figures:
        assert fig._repr_png_()[:4] == b'\x89PNG'
    assert dict(matplotlib.rcParams) == before
    figures[0].savefig(tmp_path / 'as.pdf')


def test_numbers_on_a_logarithmic_axis_are_set_as_numbers():
    fig, axes = new_figure()
    axes[0, 0].plot([1e-3, 1e3], [1, 2])
    axes[0, 0].set(xscale='log', title=HOSTILE_NAME)
    fig._repr_png_()
    assert all(label.get_parse_math() for label in axes[0, 0].get_xticklabels())
    assert not axes[0, 0].title.get_parse_math()


@pytest.mark.parametrize('seed', range(3))
def test_the_least_probable_truth_comes_first(seed):
    "As a loop over rows would sort them; ties keep their order, and an unknown class comes first."
    rng = np.random.default_rng(seed)
    p = rng.integers(1, 5, (40, 3)) / 10
    table = pd.DataFrame(p, columns=['p_a', 'p_b', 'p_c'])
    table['label'] = rng.choice(['a', 'b', 'c'], 40)
    table.loc[[7, 30], 'label'] = 'unknown'
    own = [row.get(f'p_{row.label}', 0) for _, row in table.iterrows()]
    expected = sorted(range(40), key=lambda i: own[i])
    assert worst_first(table).index.tolist() == expected
    assert expected[:2] == [7, 30]
