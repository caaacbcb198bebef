"""The card and the LaTeX table: figures are those of metrics.json, nothing that a person named can break
Markdown, YAML or LaTeX, limits are stated.
"""

import html
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml
from markdown_it import MarkdownIt

from leukocls.core.errors import DataError, RunError
from leukocls.core.files import write_whole
from leukocls.measure.metrics import METRICS, PER_CLASS, register_metric, score, show_interval
from leukocls.report.checklists import CHECKLIST, GUIDELINES, checklist
from leukocls.report.latex import latex_safe, latex_table
from leukocls.report.modelcard import (
    card_facts,
    card_metadata,
    card_run,
    limitations,
    markdown_safe,
    model_card,
    weights_seen,
    yaml_text,
)
from leukocls.runs.run import Run, Runs
from leukocls.train.recipes import as_dict, get_recipe

HOSTILE = [
    'a|b',
    '<script>alert(1)</script>',
    '$x_1$ & 50%',
    '"quote\': #`',
    'two\nlines',
    '🧬 é ß',
    '# ```\n---\n',
    '[x](http://evil.org) @you',
    '\\end{tabular} \\\\ {',
    '[1] ~^',
    'no',
    '1. x',
    '- *b* __c__',
    '&#42; \\( x',
    'all',
    '\u202eabc\x85',
]
PLAIN = ['Benign', 'Early', 'Pre', 'Pro']
render = MarkdownIt('commonmark', {'html': True}).enable('table')


def flat(text):
    return ' '.join(''.join(c if c.isprintable() or c == '\u200d' else ' ' for c in text).split())


def fabricate(folder, classes=PLAIN, patients=True, name='demo', per_class=12, **info):
    "A run folder without a network: probabilities are drawn."
    rng = np.random.default_rng(0)
    label = np.repeat(np.array(classes, object), per_class)
    n = len(label)
    index = np.repeat(np.arange(len(classes)), per_class)
    z = rng.normal(size=(n, len(classes)))
    z[np.arange(n), index] += 2.5
    q = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    table = pd.DataFrame(
        dict(
            path=[f'{i}.png' for i in range(n)],
            label=label,
            patient=[f'P{i // 3:02}' if patients else '' for i in range(n)],
            source='',
            split=np.where(np.arange(n) // 3 % 2, 'test', 'train'),
        )
    )
    p = table.drop(columns='source').assign(
        patient=table.patient if patients else pd.NA,
        pred=np.array(classes, object)[q.argmax(1)],
        **{f'p_{c}': q[:, i] for i, c in enumerate(classes)},
    )
    said = (
        dict(
            name=name,
            recipe=as_dict(get_recipe('modified-cnn')),
            seed=1,
            versions=dict(python='3.11', leukocls='0.1.0'),
            device='cpu',
            split=dict(
                method='patient',
                note='Split by patient: nobody is on two sides.',
                shared_patients=0,
                shared_files=0,
                shared_groups=0,
            ),
            data=dict(
                n=n,
                patients=int(table.patient.nunique()) if patients else 0,
                fingerprint='fb03',
                sides=table.split.value_counts().to_dict(),
                skipped={},
            ),
            notes=[],
            status='finished',
        )
        | info
    )
    write_whole(folder / 'recipe.json', json.dumps(said, ensure_ascii=False))
    write_whole(
        folder / 'metrics.json',
        json.dumps(
            score(p[p.split == 'test'].reset_index(drop=True), resamples=50), ensure_ascii=False
        ),
    )
    table.to_csv(folder / 'table.csv', index=False)
    return folder


def parts(card):
    "(metadata, body, HTML of the body)."
    assert card.startswith('---\n')
    head, body = card[4:].split('\n---\n', 1)
    return yaml.safe_load(head), body, render.render(body)


def tables(page):
    return [
        [
            [html.unescape(c) for c in re.findall(r'<t[hd][^>]*>(.*?)</t[hd]>', row, re.S)]
            for row in re.findall(r'<tr>(.*?)</tr>', t, re.S)
        ]
        for t in re.findall(r'<table>(.*?)</table>', page, re.S)
    ]


def rows_of(tex):
    return [line[:-3] for line in tex.split('\\toprule')[1].splitlines() if line.endswith(r' \\')]


def sound(tex):
    """What LaTeX needs: ASCII, balanced braces and environments, as many cells in each row, no bare
    special letter.
    """
    assert tex.isascii()
    bare = tex.replace('\\\\', ' ').split('\n', 1)[1]
    depth = 0
    for c in re.findall(r'(?<!\\)[{}]', bare):
        depth += 1 if c == '{' else -1
        assert depth >= 0
    assert depth == 0 and re.findall(r'\\begin\{(\w+)\}', tex) == re.findall(
        r'\\end\{(\w+)\}', tex
    )[::-1] == ['table', 'tabular']
    assert (
        not re.search(r'(?<!\\)[%#]', bare)
        and not re.search(r'(?<![\\$])_', bare)
        and len(re.findall(r'(?<!\\)\$', bare)) % 2 == 0
        and not re.search(r'(?<!\\)[~^](?!\{)', bare)
    )
    width = len(re.search(r'\\begin\{tabular\}\{(\w+)\}', tex)[1])
    for row in rows_of(tex):
        spans = [int(s) for s in re.findall(r'\\multicolumn\{(\d+)\}', row)]
        assert len(re.findall(r'(?<!\\)&', row)) + 1 + sum(spans) - len(spans) == width, row
    assert not [row for row in rows_of(tex) if row.startswith(('[', '*'))]


@pytest.fixture(scope='module')
def plain(tmp_path_factory):
    return fabricate(tmp_path_factory.mktemp('card') / 'run')


@pytest.fixture(scope='module')
def hostile(tmp_path_factory):
    folder = fabricate(
        tmp_path_factory.mktemp('card') / 'run',
        HOSTILE,
        name='r|n "<b>": #\n$x_1$ 🧬',
        notes=['a note | with <b>html</b>\n# and a heading'],
        per_class=6,
    )
    info = json.loads((folder / 'recipe.json').read_text())
    info['data']['skipped'] = {'C:/secret/a.png': 'trun|cated <i>'}
    info['recipe'] |= dict(
        arch='my_net|<x>',
        title='T|<u>`',
        paper='P $1 & co_',
        filled=['what | <b>'],
        weights='some/secret/w|.pth',
    )
    write_whole(folder / 'recipe.json', json.dumps(info))
    write_whole(folder / 'gate.json', json.dumps(dict(refused=0.125, note='as | <asked>\n## x')))
    write_whole(
        folder / 'shortcuts.json',
        json.dumps(
            dict(
                majority=dict(accuracy=0.25, what='always | the <first>'),
                colour=dict(accuracy=0.5, what='six numbers'),
            )
        ),
    )
    return folder


@pytest.mark.parametrize('text', HOSTILE)
def test_names_read_as_they_are_written(text):
    assert not set('<>|`$\n') & set(markdown_safe(text))
    for where in (
        markdown_safe(text),
        f'- {markdown_safe(text)}',
        f'| h | i |\n|---|---|\n| {markdown_safe(text)} | x |',
    ):
        tokens = render.parse(where)
        assert not {
            'html_block',
            'html_inline',
            'fence',
            'code_inline',
            'link_open',
            'em_open',
            'strong_open',
            'heading_open',
            'hr',
            'ordered_list_open',
        } & {t.type for o in tokens for t in [o, *(o.children or [])]}
    page = render.render(f'| h | i |\n|---|---|\n| {markdown_safe(text)} | x |')
    assert tables(page)[0][1] == [flat(text), 'x']
    assert yaml.safe_load(yaml_text(dict(a=text, b=[text, dict(c=text)]))) == dict(
        a=text, b=[text, dict(c=text)]
    )


def test_the_check_of_names_can_fail():
    assert 'html_inline' in {
        t.type for o in render.parse('a <b> c') for t in o.children or []
    } and tables(render.render('| h | i |\n|---|---|\n| a|b | x |'))[0][1] != ['a|b', 'x']
    with pytest.raises(AssertionError):
        sound(
            latex_table(
                dict(
                    per_class={},
                    **{k: dict(value=0.5, low=0.4, high=0.6) for k in METRICS},
                    n=1,
                    split='test',
                    interval=dict(patients=None, note=''),
                )
            ).replace('Macro average &', 'Macro average')
        )


@pytest.mark.parametrize(
    'v',
    [
        1e-05,
        1e22,
        -3.5e-300,
        0.0,
        3,
        -1,
        True,
        None,
        0.1 + 0.2,
        'yes',
        '1e5',
        '~',
        '',
        ' a ',
        [],
        {},
    ],
)
def test_yaml_keeps_values(v):
    got = yaml.safe_load(yaml_text(dict(a=v, b=[v])))['a']
    assert got == v and type(got) is type(v)


def test_front_matter_is_what_the_hub_reads(plain):
    meta = parts(model_card(plain))[0]
    m = json.loads((plain / 'metrics.json').read_text())
    result = meta['model-index'][0]['results'][0]
    assert (
        meta['license'] == 'other'
        and meta['license_name']
        and meta['library_name'] == 'fastai'
        and meta['pipeline_tag'] == 'image-classification'
        and {'leukaemia', 'blood-smear', 'research-only'} <= set(meta['tags'])
    )
    assert (
        [v['value'] for v in result['metrics']]
        == [m[k]['value'] for k in METRICS if m[k]['value'] is not None]
        and result['dataset']['split'] == 'test'
        and result['task']['type'] == 'image-classification'
    )
    assert all(
        show_interval(m[k], k) in v['name']
        for k, v in zip([k for k in METRICS if m[k]['value'] is not None], result['metrics'])
    ) and meta['metrics'] == [v['type'] for v in result['metrics']]


def test_every_figure_is_from_metrics_json(plain):
    m = json.loads((plain / 'metrics.json').read_text())
    found = tables(parts(model_card(plain))[2])
    by_head = {tuple(t[0]): t[1:] for t in found}
    overall = by_head['measure', 'value (95 % interval)']
    assert [r[1] for r in overall] == [show_interval(m[k], k) for k in METRICS]
    single = next(t for head, t in by_head.items() if head[0] == 'class' and head[-1] == 'images')
    assert single == [
        [c, *(show_interval(v[k], k) for k in PER_CLASS), str(v['support'])]
        for c, v in m['per_class'].items()
    ]
    confusion = next(t for head, t in by_head.items() if 'truth' in head[0])
    assert [[int(n) for n in r[1:]] for r in confusion] == m['confusion']
    counts = next(t for head, t in by_head.items() if head[0] == 'class' and 'train' in head)
    t = pd.read_csv(plain / 'table.csv')
    assert counts[-2] == [
        'all images',
        *(str((t.split == s).sum()) for s in ('train', 'test')),
    ] and counts[-1] == [
        'all patients',
        *(str(t.patient[t.split == s].nunique()) for s in ('train', 'test')),
    ]


def test_a_measure_of_ones_own_is_on_the_card(plain, tmp_path):
    """With its title and interval, for the hub, for each class and in LaTeX; a run that was judged
    before has it from its predictions, and is described without it where these are gone.
    """
    folder = shutil.copytree(plain, tmp_path / 'run')
    old = (folder / 'metrics.json').read_text()

    @register_metric(title='Jaccard | index', per_class=True, percent=True, hub_name='jaccard')
    def jaccard(labels, predicted, probabilities, weights):
        return [
            weights[(labels == c) & (predicted == c)].sum()
            / weights[(labels == c) | (predicted == c)].sum()
            for c in range(probabilities.shape[1])
        ]

    try:
        assert 'Jaccard' not in model_card(folder) and model_card(folder) == model_card(plain)
        assert 'not defined' not in latex_table(json.loads(old), measures=('jaccard', 'f1'))
        sound(latex_table(json.loads(old), measures=('jaccard', 'f1')))
        table = pd.read_csv(folder / 'table.csv', keep_default_na=False)
        table.assign(
            pred=table.label,
            **{f'p_{c}': (table.label == c) * 0.9 + 0.025 for c in json.loads(old)['classes']},
        ).to_csv(folder / 'predictions.csv', index=False)
        meta, _, page = parts(model_card(folder))
        value = meta['model-index'][0]['results'][0]['metrics'][-1]
        assert (value['type'], value['value']) == ('jaccard', 1.0) and '100.0 %' in value['name']
        found = {tuple(t[0]): t[1:] for t in tables(page)}
        overall = found['measure', 'value (95 % interval)']
        assert overall[-1][0] == 'Jaccard | index' and overall[-1][1].startswith('100.0 %')
        single = next(t for head, t in found.items() if 'Jaccard | index' in head)
        assert all(row[-2].startswith('100.0 %') for row in single)
        assert (folder / 'metrics.json').read_text() == old
    finally:
        METRICS.pop('jaccard')


def test_figures_follow_metrics_json(plain, tmp_path):
    """Another figure in the file is another figure on the card and in the table, and the old one is
    gone.
    """
    folder = shutil.copytree(plain, tmp_path / 'run')
    m = json.loads((folder / 'metrics.json').read_text())
    old = show_interval(m['accuracy'])
    m['accuracy'] = dict(value=0.12345, low=0.05, high=0.23)
    (folder / 'metrics.json').write_text(json.dumps(m))
    card, tex = model_card(folder), latex_table(folder)
    assert (
        '12.3 % (5.0–23.0)' in card
        and old not in card.split('### Each class')[0]
        and '0.12345' in card
        and '12.3 (5.0--23.0)' in tex
    )


def test_latex_has_the_same_numbers(plain):
    tex, m = latex_table(plain), json.loads((plain / 'metrics.json').read_text())
    sound(tex)
    rows = [r.split(' & ') for r in rows_of(tex)]

    def cell(v, k):
        return show_interval(v[k], k).replace(' %', '').replace('–', '--')

    names = ('recall', 'specificity', 'precision', 'f1')
    assert (
        rows[1:5]
        == [[c, *(cell(v, k) for k in names), str(v['support'])] for c, v in m['per_class'].items()]
        and rows[5] == ['Macro average', *(cell(m, k) for k in names), str(m['n'])]
        and cell(m, 'accuracy') in rows[6][1]
    )
    assert (
        'Split by patient' in tex
        and latex_safe(m['interval']['note']) in tex
        and f"{m['n']} test images of {m['interval']['patients']} patients" in tex
    )
    assert set(re.findall(r'\\usepackage\{(\w+)\}', tex)) == {'booktabs'}


def test_latex_of_several_runs(plain, hostile, run):
    m = json.loads((plain / 'metrics.json').read_text())
    both = latex_table([Run(plain), run])
    sound(both)
    assert both.count('Macro average') == 2 and r'\textit{demo}' in both and run.name in both
    assert latex_table(Runs([Run(plain), run])) == both
    sound(latex_table({'a_b & c': m, '50%': str(hostile)}, measures=PER_CLASS, label='a b}%'))
    sound(latex_table(m, measures=('auroc',)))
    for wrong in (3, [], dict(a=3)):
        with pytest.raises(DataError, match='A table needs metrics'):
            latex_table(wrong)
    with pytest.raises(DataError, match='accuracy'):
        latex_table(m, measures=('accuracy',))


def test_class_without_judged_images(plain, tmp_path):
    folder = shutil.copytree(plain, tmp_path / 'run')
    m = json.loads((folder / 'metrics.json').read_text())
    m['per_class']['Pro'] |= {k: dict(value=None, low=None, high=None) for k in PER_CLASS} | dict(
        support=0
    )
    m['log_loss'] = dict(value=None, low=None, high=None)
    (folder / 'metrics.json').write_text(json.dumps(m))
    card = model_card(folder)
    assert 'not defined' in card and 'log_loss' not in parts(card)[0]['metrics']
    sound(latex_table(folder))
    assert 'not defined' in latex_table(folder)


def test_hostile_names_everywhere(hostile):
    card = model_card(hostile)
    meta, body, page = parts(card)
    assert (
        meta['model-index'][0]['name'] == 'r|n "<b>": #\n$x_1$ 🧬' and 'my_net|<x>' in meta['tags']
    )
    tags = set(re.findall(r'<(/?\w+)', page))
    assert {t.strip('/') for t in tags} <= {
        'h1',
        'h2',
        'h3',
        'p',
        'strong',
        'ul',
        'li',
        'table',
        'thead',
        'tbody',
        'tr',
        'th',
        'td',
        'pre',
        'code',
    }, tags
    assert (
        re.findall(r'<h1>(.*?)</h1>', page) == ['T|&lt;u&gt;`']
        and len(re.findall('<h2>', page)) == 12
        and len(re.findall('<h3>', page)) == 5
        and page.count('<pre>') == 3
    )
    single = next(t for t in tables(page) if t[0][0] == 'class' and t[0][-1] == 'images')
    m = json.loads((hostile / 'metrics.json').read_text())
    assert [r[0] for r in single[1:]] == [flat(c) for c in m['classes']]
    for t in tables(page):
        assert len({len(r) for r in t}) == 1, t[0]
    assert 'secret' not in card and 'Refused as unlike the training images: 12.5 %.' in card
    sound(latex_table(hostile))


@pytest.mark.parametrize('text', HOSTILE)
def test_latex_text_is_set_not_obeyed(text):
    out = latex_safe(text)
    assert out.isascii() and '\n' not in out
    words = 'textbackslash|textasciitilde|textasciicircum|textless|textgreater|textbar|ss'
    known = rf"\\({words}|[`'^\"~=.urHvc])\{{|\\[{{}}&%$#_]"
    assert not re.sub(known, '', out).count('\\'), out


def test_missing_optional_files(plain, tmp_path):
    card = model_card(plain)
    assert (
        'no shortcuts.json' in card
        and 'no calibration.json' in card
        and 'None: every image gets one of the classes' in card
    )
    folder = shutil.copytree(plain, tmp_path / 'run')
    for name, content in dict(
        shortcuts=dict(
            majority=dict(accuracy=0.25, what='always first'),
            colour=dict(accuracy=0.991, what='six numbers'),
        ),
        calibration=dict(note='Not calibrated: no images.'),
        gate=dict(refused=dict(value=0.1, low=0.05, high=0.2), note='Kept apart.'),
    ).items():
        (folder / f'{name}.json').write_text(json.dumps(content))
    card = model_card(folder)
    assert (
        '| six numbers | 99.1 % |' in card
        and 'Not calibrated: no images.' in card
        and '10.0 % (5.0–20.0). Kept apart.' in card
        and any('99.1 %' in s for s in limitations(card_facts(folder)))
    )
    assert not [
        s
        for s in ('no shortcuts.json', 'no calibration.json', 'None: every image gets')
        if s in card
    ]


def test_a_folder_that_is_no_finished_run(plain, tmp_path):
    with pytest.raises(RunError, match='recipe.json, table.csv, metrics.json'):
        card_run(tmp_path)
    folder = shutil.copytree(plain, tmp_path / 'run')
    (folder / 'metrics.json').unlink()
    with pytest.raises(RunError, match='has no metrics.json'):
        card_run(folder)
    assert not (folder / 'model_card.md').exists() and not (folder / 'metrics.tex').exists()


@pytest.mark.parametrize(
    'shared, word',
    [
        (dict(shared_patients=3), '3 patients'),
        (dict(shared_files=2), '2 identical files'),
        (dict(shared_groups=4), '4 groups of near-duplicates'),
    ],
)
def test_a_leak_is_stated(tmp_path, shared, word):
    folder = fabricate(
        tmp_path / 'run', split=dict(method='given', note='Split as given.') | shared
    )
    card, facts = model_card(folder), card_facts(folder)
    assert (
        # verdict, limits and how the sides were kept apart
        card.count(f'This run leaks: {word} stand on two sides, so its figures are too good.') >= 3
        and limitations(facts)[0].startswith(f'This run leaks: {word}')
        and 'leaks-between-sides' in card_metadata(facts)['tags']
        and f'leaks: {word}' in latex_table(folder)
    )
    assert 'is on two sides.' not in card.replace('nobody is on two sides.', '')


def test_what_was_not_looked_for_is_not_claimed(plain, tmp_path):
    assert 'No patient or identical file is on two sides.' in model_card(
        plain
    ) and 'leak' not in model_card(plain)
    known = fabricate(
        tmp_path / 'b',
        patients=False,
        split=dict(
            method='group',
            note='Patients unknown: near-duplicates were kept together.',
            shared_patients=0,
            shared_files=0,
            shared_groups=0,
        ),
    )
    t = pd.read_csv(known / 'table.csv', keep_default_na=False)
    t.assign(group=t.index // 2).to_csv(known / 'table.csv', index=False)
    card = model_card(known)
    assert (
        'No identical file or group of near-duplicates is on two sides.' in card
        and 'No patient' not in card
        and 'Patients are unknown: images of one person' in card
        and 'all patients' not in card
        and '24 groups of near-duplicates' in card
    )
    assert 'was not recorded' in model_card(fabricate(tmp_path / 'c', split=dict(note='?')))


@pytest.mark.parametrize(
    'change, said',
    [
        (
            dict(
                notes=[
                    'These pictures are synthetic films of fictional patients: the figures say'
                    ' nothing about blood.'
                ]
            ),
            'synthetic films',
        ),
        (dict(status='diverged'), 'status: diverged'),
        (dict(split=dict(method='random', note='')), 'Random split'),
        ({}, 'Only 8 patients'),
        ({}, 'Few judged images of Benign (6)'),
        ({}, 'one source, or an unknown one'),
    ],
)
def test_limitations_come_from_facts(tmp_path, change, said):
    assert any(said in s for s in limitations(card_facts(fabricate(tmp_path / 'run', **change))))


def test_limitations_go_when_the_facts_do(tmp_path):
    folder = fabricate(tmp_path / 'run', per_class=120)
    said = ' '.join(limitations(card_facts(folder)))
    assert (
        'Only' not in said
        and 'Few judged' not in said
        and 'leak' not in said
        and 'unknown: images' not in said
    )


def test_known_data_is_named(tmp_path):
    folder = fabricate(tmp_path / 'run', ['all', 'hem'])
    t = pd.read_csv(folder / 'table.csv')
    t.assign(path=[f'UID_{i}_1_1_{c}.bmp' for i, c in enumerate(t.label)]).to_csv(
        folder / 'table.csv', index=False
    )
    card = model_card(folder)
    meta, _, page = parts(card)
    assert meta['datasets'] == ['c-nmc'] and 'CC BY 3.0' in card and 'Gupta and Gupta' in card
    counts = next(t for t in tables(page) if 'train' in t[0])
    assert [r[0] for r in counts[1:]] == [
        'all',
        'hem',
        'all images',
        'all patients',
    ] and 'all images: 12 train, 12 test' in card


def test_checklists(plain):
    assert {d['guideline'] for d in CHECKLIST} == set(GUIDELINES) and all(
        set(d) == {'guideline', 'item', 'section', 'asks', 'fact'} and d['asks'] for d in CHECKLIST
    )
    ends = {'CLAIM': 44, 'TRIPOD+AI': 27}
    for g, last in ends.items():  # every number stands there once, or within a range
        numbers = [
            n
            for d in CHECKLIST
            if d['guideline'] == g
            for a, *b in [re.findall(r'\d+', d['item'])]
            for n in range(int(a), int((b or [a])[-1]) + 1)
        ]
        assert sorted(set(numbers)) == list(range(1, last + 1))
    assert {d['item'] for d in CHECKLIST if d['guideline'] == 'STARD-AI'} == {
        '–'
    }  # their numbers are not known to us
    empty = checklist({})
    assert set(empty.state) == {'open'} and empty.text.str.startswith('To write: ').all()
    page = tables(parts(model_card(plain))[2])[-3:]
    assert sum(len(t) - 1 for t in page) == len(CHECKLIST) and all(
        t[0] == ['item', 'section', 'state', 'answer'] for t in page
    )
    states = {r[2] for t in page for r in t[1:]}
    assert states == {'filled', 'partly', 'open'}
    assert [
        '20',
        'Data partitions',
        'filled',
        'Patients. No patient or identical file is on two sides.',
    ] in page[0] and ['44', 'Other', 'open', "To write: funding and the funders' role."] in page[0]


def test_twice_the_same_and_nothing_else_written(plain, tmp_path):
    folder = shutil.copytree(plain, tmp_path / 'run')
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    assert card_run(folder) == folder / 'model_card.md'
    once = {p.name: p.read_bytes() for p in folder.iterdir()}
    card_run(str(folder))
    assert (
        {p.name: p.read_bytes() for p in folder.iterdir()} == once
        and set(once) - set(before) == {'model_card.md', 'metrics.tex'}
        and all(once[k] == v for k, v in before.items())
    )
    moved = shutil.copytree(folder, tmp_path / 'elsewhere')
    card_run(moved)
    assert (moved / 'model_card.md').read_bytes() == once['model_card.md'] and str(
        tmp_path
    ).encode() not in once['model_card.md'] + once['metrics.tex']


def test_the_code_on_the_card_works(run, tmp_path, monkeypatch):
    "A trained run: its card's own lines load it and predict; the command line too."
    card = model_card(run.folder)
    assert (
        str(run.folder.parent) not in card
        and 'synthetic films' in card
        and yaml.safe_load(card[4:].split('\n---\n')[0])['datasets'] == ['synthetic-films']
    )
    sound(latex_table(run))
    folder = shutil.copytree(run.folder, tmp_path / 'run')
    shutil.copy(run.table.path[0], folder / 'image.png')
    monkeypatch.chdir(folder)
    code, shell = [
        re.search(rf'```{lang}\n(.*?)```', card.split('## How to use')[1], re.S)[1]
        for lang in ('python', 'bash')
    ]
    scope = {}
    exec(code.replace("clf('image.png')", "out = clf('image.png')"), scope)
    answer = scope['out']
    # through the gate and the threshold for referral, which a bare learner knows nothing of
    assert answer.label in PLAIN and answer.in_domain is not None and answer.refer in (True, False)
    from typer.testing import CliRunner

    from leukocls.cli.commands import app

    words = shell.split()
    assert words[0] == 'leukocls'
    done = CliRunner().invoke(app, words[1:])
    assert done.exit_code == 0 and answer.label in done.stdout


def test_how_to_use_what_no_bundle_holds(tmp_path):
    "A kind that cannot be bundled is not told to make a bundle."
    folder = fabricate(tmp_path / 'run', recipe=as_dict(get_recipe('p3-knn')))
    how = model_card(folder).split('## How to use')[1].split('## Licence')[0]
    assert 'export_bundle' not in how and "predict_images(Run('.')" in how


def test_kinds_of_ones_own_are_described(tmp_path):
    "Its fields and how it was chosen come from the registry; it was described as a network."
    from leukocls.train.kinds import KINDS, Kind, register_kind

    recipe = as_dict(get_recipe('modified-cnn')) | dict(kind='forest')
    folder = fabricate(tmp_path / 'run', recipe=recipe)
    kind = Kind('forest', 'a forest', print, frozenset({'epochs', 'lr', 'weights'}))
    try:
        register_kind(replace(kind, chosen='Among 100 trees, by votes.'))
        card = model_card(folder)
        settings = next(dict(t[1:]) for t in tables(parts(card)[2]) if t[0][0] == 'setting')
        assert not {'epochs', 'lr', 'weights'} & set(settings) and settings['kind'] == 'forest'
        assert 'Among 100 trees, by votes.' in card and 'nothing is learned before' in card
    finally:
        KINDS.pop('forest')


def test_what_is_left_to_write_is_a_short_list(plain):
    "Each thing once, whatever number of guidelines ask for it; nothing that is answered."
    listed = model_card(plain).split('for one or more of the guidelines:')[1].split('###')[0]
    items = [line[2:] for line in listed.strip().splitlines()]
    assert 5 < len(items) < 40 and len(set(items)) == len(items)
    assert any('approval and consent' in item for item in items)
    assert not any('split' in item.lower() and 'level' in item.lower() for item in items)


@pytest.mark.parametrize(
    'arch, weights, words',
    [
        ('mobilenetv2_100', 'imagenet', 'photographs'),
        ('hf-hub:1aurent/vit_small_patch14_224.dinobloom', 'imagenet', '13 public data sets'),
        ('effb3', 'my-weights', 'is not known'),
        ('effb3', 'none', ''),
    ],
)
def test_the_card_says_what_pretrained_weights_have_seen(arch, weights, words):
    said = weights_seen(dict(arch=arch, weights=weights))
    assert words in said if words else said == ''
