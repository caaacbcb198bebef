"""What a reader of the documentation would stumble over, counted on the pages that nbdev hands to
Quarto; Quarto itself is not needed.

    python .ci/docs.py                                        # writes _proc
    python tests/site_checks.py --state now                   # prints the counts
    python tests/site_checks.py --state now --out results/site.csv   # and adds them to a table
    python tests/site_checks.py --list tests_shown            # the places behind a count
"""

import argparse
import ast
import importlib.util
import re
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
SITE = 'https://leukocls.github.io/leukocls'
# characters of code that fit the column of a page 1,280 pixels wide
COLUMN = 100
COMMAND = 'python .ci/docs.py && python tests/site_checks.py --state STATE --out results/site.csv'


def docs_module(root=ROOT):
    "The project's own check of the documentation, `.ci/docs.py`."
    spec = importlib.util.spec_from_file_location('docs', root / '.ci/docs.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def source_of(cell):
    return ''.join(cell['source'] or '')


def options_of(cell):
    "Quarto's options of a cell: the lines that start with `#|`."
    return [line for line in source_of(cell).splitlines() if line.startswith('#|')]


def code_of(cell):
    "Code of a cell as a reader sees it; empty if it is not shown."
    if cell['cell_type'] != 'code' or any('echo: false' in line for line in options_of(cell)):
        return ''
    return '\n'.join(line for line in source_of(cell).splitlines() if not line.startswith('#|'))


def texts_of(cell):
    "Plain-text outputs of a cell that the page shows."
    for output in cell.get('outputs', []):
        data = output.get('data', {})
        if 'text' in output:
            yield ''.join(output['text'])
        elif not {'text/html', 'text/markdown', 'image/png', 'image/svg+xml'} & set(data):
            yield ''.join(data.get('text/plain', ''))


def documentation_of(cell):
    "What `show_doc` wrote below a cell: Markdown."
    for output in cell.get('outputs', []):
        text = ''.join(output.get('data', {}).get('text/markdown', ''))
        if '[source](' in text:
            yield text


def is_test_statement(node):
    "`assert`, `test_eq(…)`, `with expect_fail(…)`."
    if isinstance(node, ast.Assert):
        return True
    calls = [node.value] if isinstance(node, ast.Expr) else []
    if isinstance(node, ast.With):
        calls = [item.context_expr for item in node.items]
    names = [getattr(call.func, 'id', '') for call in calls if isinstance(call, ast.Call)]
    return any(re.match(r'test_|expect_fail|expect_', name) for name in names)


def is_test(cell):
    "Whether a shown cell checks something and shows nothing: no value at its end, no output."
    try:
        body = ast.parse(code_of(cell)).body
    except SyntaxError:  # a shell command
        return False
    if not any(is_test_statement(node) for node in body):
        return False
    last = body[-1]
    shows = isinstance(last, ast.Expr) and not is_test_statement(last)
    return not (shows or cell.get('outputs'))


def tests_shown(pages):
    for name, i, cell in code_cells(pages):
        if is_test(cell):
            yield name, i, code_of(cell).splitlines()[0]


def private_names(pages):
    "Shown cells that call what is not public."
    for name, i, cell in code_cells(pages):
        found = re.findall(r'(?<![\w.\'"])_[A-Za-z]\w*|\._[a-z]\w*', code_of(cell))
        if found:
            yield name, i, ', '.join(sorted(set(found)))


def wraps_outputs(root=ROOT):
    "Whether the site's style lets a long line of an output go on in the next one."
    style = (root / 'nbs/styles.css').read_text(encoding='utf8')
    return bool(re.search(r'^\.cell-output pre\b[^}]*pre-wrap', style, re.M))


def can_wrap(line):
    "A sentence can go on in the next line; a row of a table, or a word without an end, cannot."
    gaps = re.findall(r'\S {3,}', line.strip())
    # one gap: a sentence with its level before it
    return len(gaps) < 2 and max(map(len, line.split()), default=0) <= COLUMN


def fenced_lines(cell):
    "Lines of code in a cell of text."
    text = source_of(cell) if cell['cell_type'] == 'markdown' else ''
    for block in re.findall(r'^```[^\n]*\n(.*?)^```', text, re.M | re.S):
        yield from block.splitlines()


def cells_cut(pages, root=ROOT):
    "Shown cells whose code is wider than the column, or an output of theirs that cannot wrap."
    wraps = wraps_outputs(root)
    for name, cells in pages.items():
        for i, cell in enumerate(cells):
            widest = max(map(len, fenced_lines(cell)), default=0)
            if widest > COLUMN:
                yield name, i, f'{widest} characters in the text'
    for name, i, cell in code_cells(pages):
        texts = [line for text in texts_of(cell) for line in text.splitlines()]
        kept = [line for line in texts if not (wraps and can_wrap(line))]
        widest = max(map(len, [*code_of(cell).splitlines(), *kept]), default=0)
        if widest > COLUMN:
            yield name, i, f'{widest} characters'


def shown_cells(pages):
    for name, i, _ in code_cells(pages):
        yield name, i, ''


def code_cells(pages):
    for name, cells in pages.items():
        for i, cell in enumerate(cells):
            if code_of(cell).strip():
                yield name, i, cell


def documented(pages):
    "(page, number of the cell, heading, Markdown) of everything that `show_doc` wrote."
    for name, cells in pages.items():
        for i, cell in enumerate(cells):
            for text in documentation_of(cell):
                heading = re.search(r'^#+ (.+)$', text, re.M)
                yield name, i, heading[1] if heading else '?', text


def signature_of(text):
    found = re.search(r'```(?:python)?\n(.*?)```', text, re.S)
    return found[1] if found else ''


def parameters_of(signature):
    "Names of a signature's parameters, each with the comment that stands behind it."
    for line in signature.splitlines()[1:-1]:
        code, _, comment = line.strip().partition('#')
        # without comments `show_doc` writes all parameters on one line
        for part in re.split(r',\s+(?=\w+\s*[:=])', code) if not comment else [code]:
            name = re.split(r'[:=,]', part.strip())[0].strip()
            if re.fullmatch(r'[a-z]\w*', name) and name not in ('self', 'cls'):
                yield name, comment.strip()


def parameters_without_help(pages):
    "Parameters of public functions that say nothing of themselves."
    for name, i, heading, text in documented(pages):
        in_table = set(re.findall(r'^\| `\*{0,2}(\w+)` \|', text, re.M))
        parameters = parameters_of(signature_of(text))
        bare = [word for word, comment in parameters if not comment and word not in in_table]
        if bare and not heading.startswith('_'):
            yield name, i, f'{heading}: {", ".join(bare)[:80]}'


def links_in_signatures(pages):
    for name, i, heading, text in documented(pages):
        if re.search(r'\[`?[\w.]+`?\]\(http', signature_of(text)):
            yield name, i, heading


def call_self(pages):
    for name, i, heading, text in documented(pages):
        if 'Call self as a function' in text:
            yield name, i, heading


def wrong_sources(pages):
    "Links called “source” that do not lead to the line where the name is defined."
    for name, i, heading, text in documented(pages):
        found = re.search(r'\[source\]\(\S+?/blob/\w+/([^)#]+)(?:#L(\d+))?\)', text)
        if not found:
            continue
        path, line = ROOT / found[1], int(found[2] or 0)
        own = ROOT / 'leukocls' / (re.sub(r'\b\d+_', '', name.removesuffix('.ipynb')) + '.py')
        if own.is_file() and path != own:
            yield name, i, f'{heading}: {found[1]} is not the module of this page'
            continue
        lines = path.read_text(encoding='utf8').splitlines() if path.is_file() else []
        there = '\n'.join(lines[max(line - 1, 0) : line + 6])
        if not line or heading.split('.')[-1].split('(')[0].strip() not in there:
            yield name, i, f'{heading}: {found[1]}#L{line}'


def pictures_without_alt(pages):
    for name, cells in pages.items():
        for i, cell in enumerate(cells):
            text = source_of(cell) if cell['cell_type'] == 'markdown' else ''
            if re.search(r'!\[\s*\]\(|<img(?![^>]*\balt="[^"])', text):
                yield name, i, 'in the text'
            pictures = any('image/png' in o.get('data', {}) for o in cell.get('outputs', []))
            if pictures and not any('fig-alt' in line for line in options_of(cell)):
                yield name, i, 'output'


def links_of(docs, folder, pages):
    "Page → pages that its prose links to."
    address = {}
    for name, cells in pages.items():
        address[
            (Path(name).parent / docs.front_matter(cells).get('output-file', name)).as_posix()
        ] = name
    out = {}
    for name, cells in pages.items():
        targets = set()
        for link in re.findall(r'\]\(([^)\s]+)', docs.prose(cells)):
            target = link.split('#')[0]
            if target.startswith(SITE):
                targets.add(address.get(target.removeprefix(SITE).strip('/') or 'index.html'))
            elif target.endswith('.ipynb'):
                whole = (folder / name).parent.joinpath(target).resolve()
                targets.add(whole.relative_to(folder.resolve()).as_posix())
        out[name] = targets - {None, name}
    return out


def far_pages(links):
    "Pages that links in the text do not reach from the home page within two clicks."
    reached = {'index.ipynb'}
    for _ in range(2):
        reached |= {target for name in reached for target in links.get(name, ())}
    return sorted(set(links) - reached)


CHECKS = dict(
    shown_cells=shown_cells,
    tests_shown=tests_shown,
    private_names=private_names,
    cells_cut=cells_cut,
    parameters_without_help=parameters_without_help,
    links_in_signatures=links_in_signatures,
    call_self=call_self,
    wrong_sources=wrong_sources,
    pictures_without_alt=pictures_without_alt,
)


def site_facts(root=ROOT):
    "(Name of a check → places found, pages)."
    docs, folder = docs_module(root), root / '_proc'
    pages = docs.read_pages(folder)
    found = {name: list(check(pages)) for name, check in CHECKS.items()}
    found['cells_cut'] = list(cells_cut(pages, root))
    links = links_of(docs, folder, pages)
    found['links_between_pages'] = [(a, 0, b) for a in links for b in sorted(links[a])]
    found['pages_over_two_clicks'] = [(name, 0, '') for name in far_pages(links)]
    found['broken_links'] = [(line, 0, '') for line in docs.check_links(folder, pages, SITE)]
    found['pages'] = [(name, 0, '') for name in pages]
    return found


def main():
    words = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    words.add_argument('--state', default='now', help='What the column is called.')
    words.add_argument('--out', type=Path, help='CSV that gets the column.')
    words.add_argument('--list', help='Print the places behind this count.')
    words.add_argument('--root', type=Path, default=ROOT, help='Checkout whose _proc is read.')
    given = words.parse_args()
    found = site_facts(given.root)
    if given.list:
        for name, i, what in found[given.list]:
            print(f'{name} [{i}] {what}')
        return
    counts = pd.Series({name: len(places) for name, places in found.items()}, name=given.state)
    print(counts.to_string())
    if given.out:
        table = pd.DataFrame(dict(check=counts.index, **{given.state: counts.values}))
        if given.out.is_file():
            before = pd.read_csv(given.out).drop(columns=['command', given.state], errors='ignore')
            table = before.merge(table, on='check', how='outer', sort=False)
        table.assign(command=COMMAND).to_csv(given.out, index=False, lineterminator='\n')


if __name__ == '__main__':
    main()
