"The documentation: what `nbdev_docs` needs, without Quarto; a script stands in for it."

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SITE = 'https://leukocls.github.io/leukocls'
QUARTO = """#!{python}
"Stands in for Quarto: reads the project's settings as it does, and writes where they say."
import importlib.util, pathlib, sys
spec = importlib.util.spec_from_file_location('docs', {docs!r})
docs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(docs)
config, _ = docs.read_config(pathlib.Path('.'))
out = pathlib.Path(config['project'].get('output-dir', '_site'))
out.mkdir(exist_ok=True)
words = sys.argv[1:]
name = words[words.index('-o') + 1] if '-o' in words else 'index.html'
(out / name).write_text('by Quarto')
"""


@pytest.fixture(scope='module')
def docs():
    spec = importlib.util.spec_from_file_location('docs', ROOT / '.ci/docs.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def page(text='', title='A page', file='a.html'):
    "Cells of a processed page."
    facts = f'---\ndescription: What it says\noutput-file: {file}\ntitle: {title}\n\n---\n\n'
    return [dict(cell_type='raw', source=[facts]), dict(cell_type='markdown', source=[text])]


@pytest.fixture
def site(tmp_path):
    "A folder as nbdev leaves it for Quarto: a home page, and a page in a folder."
    (tmp_path / '_quarto.yml').write_text(
        'project: {type: website}\n'
        'format: {html: {css: styles.css}}\n'
        'website: {sidebar: {style: floating}}\n'
        'metadata-files: [nbdev.yml, sidebar.yml]\n'
    )
    (tmp_path / 'nbdev.yml').write_text('project: {output-dir: _docs}\nwebsite: {title: a}\n')
    (tmp_path / 'styles.css').write_text('')
    (tmp_path / 'sidebar.yml').write_text(
        'website: {sidebar: {contents: [{section: s, contents: [index.ipynb, more/a.ipynb]}]}}\n'
    )
    (tmp_path / 'more').mkdir()
    home = page(f'Research use only. Not a medical device. [`a`]({SITE}/more/a.html#a)', 'Home')
    home[0]['source'] = [home[0]['source'][0].replace('a.html', 'index.html')]
    write_page(tmp_path, 'index.ipynb', home)
    write_page(tmp_path, 'more/a.ipynb', page('[home](../index.ipynb), `code[i](x)`'))
    return tmp_path


def write_page(folder, name, cells):
    (folder / name).write_text(json.dumps(dict(cells=cells)))


def test_a_whole_site_has_no_faults(docs, site):
    assert docs.check(site, '_docs', SITE) == []


def rename_metadata(site):
    text = (site / '_quarto.yml').read_text()
    (site / '_quarto.yml').write_text(text.replace('nbdev.yml, ', ''))


def without_sidebar_entry(site):
    text = (site / 'sidebar.yml').read_text()
    (site / 'sidebar.yml').write_text(text.replace(', more/a.ipynb', ''))


def twice_in_sidebar(site):
    text = (site / 'sidebar.yml').read_text()
    (site / 'sidebar.yml').write_text(text.replace('a.ipynb', 'a.ipynb, more/a.ipynb'))


def without_favicon(site):
    text = (site / '_quarto.yml').read_text()
    (site / '_quarto.yml').write_text(text.replace('website: {', 'website: {favicon: icon.svg, '))


FAULTS = {
    'output-dir is None': rename_metadata,
    'icon.svg is absent': without_favicon,
    'names nbdev.yml, which nobody makes': lambda site: (site / 'nbdev.yml').unlink(),
    'styles.css is absent': lambda site: (site / 'styles.css').unlink(),
    'more/a.ipynb is not in sidebar.yml': without_sidebar_entry,
    'names more/a.ipynb more than once': twice_in_sidebar,
    'names more/a.ipynb, which is no page': lambda site: (site / 'more/a.ipynb').unlink(),
    'a.ipynb has no title': lambda site: write_page(site, 'more/a.ipynb', page()[1:]),
    'both written to more/a.html': lambda site: write_page(site, 'more/b.ipynb', page()),
    'links to ../b.ipynb': lambda site: write_page(site, 'more/a.ipynb', page('[b](../b.ipynb)')),
    'links to https': lambda site: write_page(site, 'more/a.ipynb', page(f'[b]({SITE}/b.html#b)')),
    'Not a medical device': lambda site: write_page(site, 'index.ipynb', page(file='index.html')),
}


@pytest.mark.parametrize('fault', FAULTS)
def test_each_fault_is_named(docs, site, fault):
    FAULTS[fault](site)
    found = docs.check(site, '_docs', SITE)
    assert any(fault in line for line in found), found


@pytest.mark.dev
def test_the_home_page_keeps_its_disclaimer(docs, tmp_path):
    "nbdev keeps title and description of the first cell, and drops what else stands in it."
    from nbdev.processors import FilterDefaults
    from nbdev.serve_drv import exec_nb

    exec_nb(ROOT / 'nbs/index.ipynb', tmp_path / 'index.ipynb', FilterDefaults)
    pages = docs.read_pages(tmp_path)
    assert docs.check_home_page(pages) == [] and docs.check_titles(pages) == []
    text = docs.prose(pages['index.ipynb'])
    assert 'trains leukaemia and leukocyte classifiers' in text


def test_a_page_is_made_whatever_was_made_before_in_its_process(tmp_path):
    "pandas names types for type checkers alone: a class that inherits its signature has a page too."
    code = """
import sys
from pathlib import Path
from nbdev.processors import FilterDefaults
from nbdev.serve_drv import exec_nb

exec_nb(Path(sys.argv[1]), Path(sys.argv[2]), FilterDefaults)
"""
    page = tmp_path / 'page.ipynb'
    notebook = ROOT / 'nbs/runs/03_leaderboard.ipynb'
    subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code, str(notebook), str(page)],
        check=True,
        cwd=ROOT / 'nbs/runs',
    )
    assert "What pandas's `DataFrame` takes" in page.read_text(encoding='utf8')


@pytest.mark.dev
def test_nbdev_docs_finds_what_quarto_wrote(tmp_path):
    "The site lands in _docs, and README.md stays as it is, though older than its notebook."
    copy = tmp_path / 'copy'
    (copy / 'nbs').mkdir(parents=True)
    for name in ('settings.ini', 'pyproject.toml', 'README.md', '_quarto.yml'):
        shutil.copy(ROOT / name, copy)
    for name in ('index.ipynb', 'sidebar.yml', 'styles.css'):
        shutil.copy(ROOT / 'nbs' / name, copy / 'nbs')
    (copy / 'nbs/_quarto.yml').symlink_to('../_quarto.yml')
    os.utime(copy / 'README.md', (0, 0))
    (copy / 'leukocls').mkdir()
    for name in ('__init__.py', '_modidx.py'):
        shutil.copy(ROOT / 'leukocls' / name, copy / 'leukocls')
    quarto = tmp_path / 'bin/quarto'
    quarto.parent.mkdir()
    quarto.write_text(QUARTO.format(python=sys.executable, docs=str(ROOT / '.ci/docs.py')))
    quarto.chmod(0o755)
    done = subprocess.run(
        [str(Path(sys.executable).with_name('nbdev_docs')), '--n_workers', '0'],
        cwd=copy,
        env={**os.environ, 'PATH': f'{quarto.parent}:{os.environ["PATH"]}'},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-1000:]
    assert (copy / '_docs/index.html').read_text() == 'by Quarto'
    assert (copy / 'README.md').read_bytes() == (ROOT / 'README.md').read_bytes()


SHOWN = '''---

[source](https://github.com/leukocls/leukocls/blob/main/leukocls/a.py#L3)

### f

```python
def f(
    data:NoneType=None, # Folder, as in [`read_table`](https://leukocls.github.io/t.html#read_table)
    how:str='a', # One of a | b,
or none
    *rest, # More
)->dict: # What it is
```

*First line of a sentence*
that goes on.
'''


def test_a_signature_is_code_and_its_comments_are_a_table():
    from leukocls._docs import readable_signatures

    cell = dict(outputs=[dict(data={'text/markdown': SHOWN.splitlines(keepends=True)})])
    readable_signatures(cell)
    text = ''.join(cell['outputs'][0]['data']['text/markdown'])
    code = text.split('```python\n')[1].split('\n```')[0]
    assert code == "def f(\n    data=None,\n    how:str='a',\n    *rest,\n)->dict"
    table = text.split('|:---|:---|\n')[1].splitlines()
    assert table == [
        '| `data` | Folder, as in [`read_table`](https://leukocls.github.io/t.html#read_table) |',
        '| `how` | One of a \\| b, or none |',
        '| `*rest` | More |',
        '| *returns* | What it is |',
    ]
    assert '*First' not in text and 'First line of a sentence\nthat goes on.' in text


def test_signatures_without_comments_and_other_outputs_stay():
    from leukocls._docs import readable_signatures

    plain = '[source](x)\n\n### f\n\n```python\ndef f(\n    a, b:int=1\n):\n```\n'
    cell = dict(outputs=[dict(data={'text/markdown': [plain]}), dict(text=['[source](x)'])])
    readable_signatures(cell)
    assert ''.join(cell['outputs'][0]['data']['text/markdown']) == plain
    assert cell['outputs'][1] == dict(text=['[source](x)'])


def shown(name, code, module='core/errors'):
    "What a cell of the documentation holds after the processor; `code` is the signature."
    from leukocls._docs import readable_signatures

    source = f'[source](https://x/blob/main/leukocls/{module}.py#L1)'
    text = f'{source}\n\n### {name}\n\n```python\n{code}\n```\n\n*What it is.*'
    cell = dict(outputs=[dict(data={'text/markdown': [text]})])
    readable_signatures(cell, 'leukocls.' + module.replace('/', '.'))
    return ''.join(cell['outputs'][0]['data']['text/markdown'])


def test_fields_of_a_class_are_a_table():
    "Those of a parent too."
    for name in ('Option', 'Given'):
        text = shown(name, f'def {name}(\n    name:str, value:object=Ellipsis\n)->None:')
        assert "| `name` | As in Python, such as 'on_error' |" in text
        assert "    name:str,\n    value:object=Ellipsis,\n    how:str='pass {}',\n" in text


def test_options_of_a_command_are_a_table_with_the_link_to_the_command():
    "`audit` is a function of another page as well."
    from leukocls._docs import _documented, _with_source

    code = 'def audit(\n    data:Annotated, json_out:Annotated=None\n):'
    text = shown('audit', code, 'cli/commands')
    assert '    data:str,\n' in text and '    json_out:Optional[Path]=None,\n' in text
    assert '| `json_out` | `--json`: Write everything that was found to this file. |' in text
    strange = text.replace('cli/commands.py', 'audit/findings.py')
    found = _with_source(strange, _documented(strange, 'leukocls.cli.commands'))
    assert '/blob/main/leukocls/cli/commands.py#L' in found


def test_what_a_class_takes_over_from_a_package_is_one_line():
    text = shown('Board', 'def Board(\n    data, index:Axes | None=None\n):', 'runs/leaderboard')
    assert "| `**others` | What pandas's `DataFrame` takes |" in text


def test_a_default_with_fields_of_its_own_is_short():
    from leukocls._docs import table_of_parameters

    signature = 'def f(\n    limits:leukocls.web.upload.Limits=Limits(body=64, seconds=10.0), # How much\n):'
    code, table = table_of_parameters(signature)
    assert code == 'def f(\n    limits:Limits=Limits(),\n)'
    assert table.endswith('| `limits` | How much |')


def test_a_signature_that_ends_in_keywords_is_taken_apart_too():
    from leukocls._docs import table_of_parameters

    signature = 'def f(\n    what:str, # Folder\n    **kwargs\n)->bytes: # The page'
    code, table = table_of_parameters(signature)
    assert code == 'def f(\n    what:str,\n    **kwargs,\n)->bytes'
    assert table.splitlines()[2:] == ['| `what` | Folder |', '| *returns* | The page |']


def test_the_site_checks_find_what_they_count():
    import site_checks

    cells = [
        dict(cell_type='code', source=['test_eq(1, 1)'], outputs=[]),
        dict(cell_type='code', source=['test_eq(1, 1)\n', 'table'], outputs=[dict(data={})]),
        dict(cell_type='code', source=['#| echo: false\n', 'show_doc(f)'], outputs=[]),
        dict(cell_type='code', source=[f'_private({"x" * 100})'], outputs=[]),
        dict(cell_type='markdown', source=['![](a.png) and ![A cell](b.png)']),
        dict(
            cell_type='code',
            source=['#| echo: false\n', 'show_doc(f)'],
            outputs=[
                dict(data={'text/markdown': [SHOWN.replace(' # One of a | b,\nor none', '')]})
            ],
        ),
    ]
    found = {
        name: len(list(check({'a.ipynb': cells}))) for name, check in site_checks.CHECKS.items()
    }
    assert found == dict(
        shown_cells=3,
        tests_shown=1,
        private_names=1,
        cells_cut=1,
        parameters_without_help=1,
        links_in_signatures=1,
        call_self=0,
        wrong_sources=1,
        pictures_without_alt=1,
    )


def test_a_long_sentence_wraps_and_a_long_row_of_a_table_is_cut():
    import site_checks

    assert site_checks.wraps_outputs()
    assert site_checks.can_wrap('NOTE     a sentence ' + 'more ' * 20)
    assert not site_checks.can_wrap('decode     12 images/s     2 times     ' + 'x ' * 50)
    assert not site_checks.can_wrap('x' * 101)


def test_links_of_the_home_page_start_at_the_root_in_readme():
    spec = importlib.util.spec_from_file_location('readme', ROOT / '.ci/readme.py')
    readme = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(readme)
    text = '[a](guides/a.ipynb#x), ![b](images/b.png), [c](https://c.org/d), [e](#f)'
    assert readme.from_the_root(text) == (
        '[a](nbs/guides/a.ipynb#x), ![b](nbs/images/b.png), [c](https://c.org/d), [e](#f)'
    )


def test_readme_is_short_and_its_links_lead_somewhere():
    import re

    text = (ROOT / 'README.md').read_text(encoding='utf8')
    assert len(text.splitlines()) < 150
    for link in re.findall(r'\]\((?!https?:)([^)#\s]+)', text):
        assert (ROOT / link).is_file(), link


@pytest.mark.skipif(sys.platform == 'win32', reason='the gate is a bash script')
def test_the_gate_reads_whole_commands_from_readme():
    "A command that goes on over two lines is read to its end."
    gate = (ROOT / '.ci/run').read_text(encoding='utf8').splitlines()
    reads = next(line for line in gate if line.startswith('command_of()'))
    script = f"set -euo pipefail\n{reads}\ncommand_of 'leukocls demo'\ncommand_of nbdev_test\n"
    run = subprocess.run(['bash', '-c', script], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    demo, develop = (line.split(' && ') for line in run.stdout.splitlines())
    assert demo == ['pip install ".[train,export,app]"', 'leukocls demo']
    install, lessons, tests = develop
    assert install == 'pip install -e ".[dev]"'
    assert lessons.startswith('nbdev_test ') and tests.strip().startswith('pytest ')
    assert '\\' not in run.stdout


def test_citation_has_the_version_of_the_settings():
    import yaml

    cited = yaml.safe_load((ROOT / 'CITATION.cff').read_text(encoding='utf8'))
    settings = (ROOT / 'settings.ini').read_text(encoding='utf8')
    assert f"version = {cited['version']}\n" in settings
