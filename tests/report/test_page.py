"The report page: what it says is true, nothing on it is code, and it can be extended."

import re
import shutil

import numpy as np
import pandas as pd
import pytest
from test_modelcard import HOSTILE, fabricate

from leukocls.core.errors import RunError
from leukocls.report import page as report
from leukocls.report.page import RunFiles, _limits_to_malignant, map_svg
from leukocls.report.sentences import beside, confidence_sentence, headline, verdict
from leukocls.train.kinds import KINDS, Kind, register_kind


def with_predictions(folder):
    "The rest of what a report needs: predictions and history."
    run = RunFiles(folder)
    classes = run.metrics['classes']
    table = run.table[run.table.split == 'test'].reset_index(drop=True)
    p = np.full((len(table), len(classes)), 0.5 / (len(classes) - 1))
    p[np.arange(len(table)), [classes.index(c) for c in table.label]] = 0.5
    columns = {f'p_{c}': p[:, i] for i, c in enumerate(classes)}
    table.assign(pred=table.label, **columns).to_csv(folder / 'predictions.csv', index=False)
    (folder / 'history.csv').write_text('epoch,train_loss\n')
    run.info |= dict(model=dict(total=1), precision='fp32')
    return RunFiles(folder), run.info


@pytest.fixture
def made(tmp_path):
    run, run.info = with_predictions(fabricate(tmp_path / 'run'))
    return run


def text_of(page):
    return re.sub(r'\s+', ' ', re.sub(r'<style.*?</style>|<[^>]*>', ' ', page, flags=re.S))


def test_a_shortcut_of_ones_own_is_named(made):
    "It was a KeyError."
    shortcuts = dict(stain=dict(accuracy=0.5, what='two numbers of the stain'))
    assert beside(made.metrics, shortcuts).startswith('The shortcut “two numbers of the stain”')
    assert 'two numbers of the stain' in verdict(made.info, made.metrics, shortcuts)
    made.shortcuts = shortcuts
    assert 'two numbers of the stain' in report._page(made, {})


@pytest.mark.parametrize(
    'stated, words', [(0.99, 'too high'), (0.85, 'about right'), (0.6, 'too low')]
)
def test_what_is_said_of_percentages_is_true(stated, words):
    "85 % are right (80–89): only a stated mean inside these ends is called about right."
    p = pd.DataFrame(dict(p_a=np.full(200, stated), p_b=np.full(200, 1 - stated)))
    metrics = dict(accuracy=dict(value=0.85, low=0.80, high=0.89))
    assert words in confidence_sentence(p, metrics)


@pytest.mark.parametrize('method', ['patient', 'group', 'random', 'source', 'given', None])
def test_the_headline_says_how_images_were_split(made, method):
    info = made.info | dict(split=dict(method=method))
    text = headline(info, made.metrics)
    assert f"of {made.metrics['n']} test images of" in text and '95 % interval' in text
    assert (' nobody is on two sides' in text) is (method == 'patient')
    leak = headline(info | dict(split=dict(method=method, shared_patients=2)), made.metrics)
    assert '2 patients are on two sides' in leak and 'nobody' not in leak


def test_the_order_of_the_page(made):
    made.shortcuts = dict(colour=dict(accuracy=0.959, what='six numbers'))
    page = report._page(made, {})
    assert 'Research use only' in page.partition('<main>')[0]
    text = text_of(page.partition('<main>')[2])
    order = ['classified correctly', 'Colour alone reaches 95.9 %', 'How sure it is', 'made on']
    places = [text.index(words) for words in order]
    assert places == sorted(places)
    assert 'leukocls 0.1.0' in text[places[-1] :]


@pytest.mark.parametrize('text', HOSTILE)
def test_names_are_text_on_the_page(tmp_path, text):
    "As class, patient, run, title, note, gap and shortcut."
    folder = fabricate(tmp_path / 'run', [text, 'b'], name=text, notes=[text])
    run, run.info = with_predictions(folder)
    run.info['recipe'] |= dict(title=text, filled=[text])
    run.shortcuts = dict(own=dict(accuracy=0.5, what=text))
    page = report._page(run, {})
    assert '<script>alert' not in page and 'href="http' not in page
    allowed = {'!doctype', 'html', 'head', 'meta', 'title', 'style', 'body', 'div', 'nav', 'main'}
    allowed |= {'h1', 'h2', 'p', 'a', 'strong', 'ul', 'li', 'details', 'summary', 'footer', 'pre'}
    allowed |= {'figure', 'figcaption', 'br', 'table', 'thead', 'tbody', 'tr', 'th', 'td'}
    allowed |= {'svg', 'circle', 'text', 'tspan'}
    assert set(re.findall(r'<([!\w]+)', page)) <= allowed


def test_a_name_that_is_no_text(made):
    "Names of files need not be UTF-8; the page must be."
    names = pd.Series(['caf\udce9.png'] * len(made.predictions), dtype=object)
    svg = map_svg(made.predictions.assign(path=names))
    assert 'caf\\xe9.png' in svg.encode('utf8').decode()


def test_more_wrong_answers_than_the_map_shows(made):
    wrong = made.predictions.assign(label='Benign', pred='Pro')
    assert map_svg(wrong, 5).count('<circle') == len(wrong)


def test_a_section_of_ones_own(made):
    before = list(report.SECTIONS)
    try:

        @report.section('Mine <b>')
        def mine(run):
            return report.Part(points=[f'{len(run.table)} rows'], code='1 < 2')

        @report.section('Nothing')
        def nothing(run):
            return None

        page = report._page(made, {})
        assert '<h2>Mine &lt;b&gt;</h2>' in page and '<pre>1 &lt; 2</pre>' in page
        assert f'<li>{len(made.table)} rows</li>' in page and 'Nothing' not in page
        assert '>Mine &lt;b&gt;</a>' in page
    finally:
        report.SECTIONS[:] = before


def test_a_section_registered_again_replaces_itself(made):
    "As a cell of a notebook does that is run twice; a heading of the library is refused."
    before = list(report.SECTIONS)
    try:
        for words in ('first', 'second'):
            report.section('Mine')(lambda run, words=words: report.Part(text=[words]))
        page = report._page(made, {})
        with pytest.raises(RunError, match="has a section 'Map' already"):
            report.section('Map')(lambda run: None)
    finally:
        report.SECTIONS[:] = before
    assert page.count('<h2>Mine</h2>') == 1 and 'second' in page and '>first<' not in page


@pytest.mark.parametrize(
    'make, fault',
    [
        (lambda run: report.Part(text=[run.learner]), 'AttributeError: .*learner'),
        (lambda run: 'a sentence', 'it returns str, not a Part or None'),
    ],
)
def test_a_section_that_fails_is_said_and_the_rest_is_shown(made, capsys, make, fault):
    "An error in a user's section once ended `train_all` after the training, before its other recipes."
    before = list(report.SECTIONS)
    try:
        report.section('Mine')(make)
        page = report._page(made, {})
    finally:
        report.SECTIONS[:] = before
    said = capsys.readouterr().err
    assert re.search(f'The section Mine could not be made: {fault}', said), said
    assert 'RunFiles' in said and 'predictions' in said and '_json' not in said
    assert 'The section Mine could not be made' in page and '<h2>How it was made</h2>' in page


def test_a_section_of_the_library_that_fails_is_a_bug_and_raises(made, monkeypatch):
    broken = report.Section('How sure it is', lambda run: 1 / 0)
    monkeypatch.setattr(report, 'SECTIONS', [broken])
    with pytest.raises(ZeroDivisionError):
        report._page(made, {})


def test_a_kind_of_ones_own_decides_what_is_told(made):
    """Augmentation and fields of the recipe follow the registry of kinds. A kind without
    augmentation was shown with it unless it had one of our two names.
    """
    recipe = made.info['recipe'] | dict(kind='forest', augment='turns', epochs=7)
    kind = Kind('forest', 'a forest', print, unused=frozenset({'augment', 'epochs'}))
    try:
        register_kind(kind)
        words = report._recipe_words(made.info | dict(recipe=recipe))
        assert 'epochs' not in words and 'augment' not in words and 'kind=forest' in words
        assert report._augmented(recipe, made.table, 3, '') == {}
    finally:
        KINDS.pop('forest')
    # a run of a kind that this session does not know can still be shown
    assert 'epochs=7' in report._recipe_words(made.info | dict(recipe=recipe))


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(RunError, match='recipe.json, table.csv, metrics.json'):
        report.report_run(tmp_path)
    assert not list(tmp_path.iterdir())
    fabricate(tmp_path / 'run')
    with pytest.raises(RunError, match='has no history.csv, predictions.csv'):
        report.report_run(tmp_path / 'run')


def test_pictures_that_are_gone(run, tmp_path):
    "A run's folder alone is enough for its page."
    folder = shutil.copytree(run.folder, tmp_path / 'run')
    for name in ('table', 'predictions'):
        rows = pd.read_csv(folder / f'{name}.csv')
        rows.assign(path='gone/' + rows.path.str[-8:]).to_csv(folder / f'{name}.csv', index=False)
    page = report.report_run(folder).read_text(encoding='utf8')
    assert page.count('no file') == 32 and 'src="data:image/png' in page


def test_plots_are_narrow_enough_for_a_phone(run):
    "At 390 pixels a letter of a plot keeps two thirds of its height; only pictures are broader."
    report.report_run(run.folder)
    names = {path.stem for path in (run.folder / 'plots').glob('*.png')}
    broad = {
        name
        for name in names
        if report.Drawn(name, (run.folder / f'plots/{name}.png').read_bytes()).width > 540
    }
    assert broad <= {'augmented', 'batch', 'predictions'} < names


def test_each_source_has_its_figure_where_there_are_two(made):
    assert 'Each source' not in report._page(made, {})
    made.table['source'] = ['here', 'there'] * (len(made.table) // 2) + ['here'] * (
        len(made.table) % 2
    )
    page = report._page(made, {})
    text = text_of(page)
    assert 'Each source' in text and 'leukocls across table.csv --recipe' in text
    assert '<code>leukocls across table.csv --recipe ' in page
    assert 'here yes' in text and 'there yes' in text
    made.calibration = dict(temperature=1.0, operating_points=[], notes=[], note='Not enough.')
    assert 'of these laboratories (here, there) and hold for such images only' in text_of(
        ' '.join(report._how_sure(made).text)
    )


def test_what_a_limit_misses_stands_beside_what_it_may_miss():
    "Short heads, since six columns must fit a telephone."
    share = dict(value=0.99, low=0.9, high=1.0)
    point = dict(wanted=0.99, threshold=0.1, missed=2, n=200, sensitivity=share, specificity=share)
    (table,) = _limits_to_malignant([point, dict(point, threshold=None)])
    assert table.head[:2] == ('may miss', 'missed') and max(map(len, table.head)) <= 11
    assert [row[:2] for row in table.rows] == [['1 in 100', '2 of 200']]
