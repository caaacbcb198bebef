"""The documentation as far as it can be made and checked without Quarto; installs nothing.

python .ci/docs.py    # writes _proc; exit 1, with a line for each fault, if `nbdev_docs` would fail
"""

import json
import os
import re
import sys
from pathlib import Path
from urllib.parse import unquote

import yaml

ROOT = Path(__file__).resolve().parent.parent
HOME_PAGE_SAYS = 'Research use only. Not a medical device'


def merged(first, second):
    "Two YAML files as Quarto joins them: sections are merged, of two values the second counts."
    if not (isinstance(first, dict) and isinstance(second, dict)):
        return second
    both = {key: merged(first[key], second[key]) for key in first.keys() & second.keys()}
    return {**first, **second, **both}


def read_config(folder):
    "(_quarto.yml with its metadata files, names of metadata files that are absent)."
    config = yaml.safe_load((folder / '_quarto.yml').read_text(encoding='utf8'))
    absent = []
    for name in config.pop('metadata-files', []):
        if (folder / name).is_file():
            config = merged(config, yaml.safe_load((folder / name).read_text(encoding='utf8')))
        else:
            absent.append(name)
    return config, absent


def pages_of(contents):
    "Every page that a sidebar names, in order."
    for entry in contents:
        if isinstance(entry, str):
            yield entry
        else:
            if 'href' in entry:
                yield entry['href']
            yield from pages_of(entry.get('contents', []))


def check_config(folder, output):
    "What `nbdev_docs` needs to find: the output folder, every file that _quarto.yml names."
    config, absent = read_config(folder)
    faults = [f'_quarto.yml names {name}, which nobody makes' for name in absent]
    found = config.get('project', {}).get('output-dir')
    if found != output:
        faults.append(f'the output-dir is {found}, and nbdev looks for {output}')
    if not config.get('website', {}).get('title'):
        faults.append('the site has no title')
    style = config.get('format', {}).get('html', {}).get('css')
    icon = config.get('website', {}).get('favicon')
    faults += [f'{f} is absent' for f in (style, icon) if f and not (folder / f).is_file()]
    return faults


def check_sidebar(folder, pages):
    "Every page stands in the sidebar once, and what stands there is a page."
    config, _ = read_config(folder)
    sidebar = config.get('website', {}).get('sidebar', {}).get('contents', [])
    named = list(pages_of(sidebar))
    twice = sorted({name for name in named if named.count(name) > 1})
    return (
        [f'sidebar.yml names {name} more than once' for name in twice]
        + [f'sidebar.yml names {name}, which is no page' for name in sorted({*named} - {*pages})]
        + [f'{name} is not in sidebar.yml' for name in sorted({*pages} - {*named})]
    )


def front_matter(cells):
    "Title, description and output file of a processed page."
    first = ''.join(cells[0]['source'] or '') if cells else ''
    if not first.startswith('---'):
        return {}
    return yaml.safe_load(first.strip().strip('-'))


def check_titles(pages):
    "Every page has a title, a description and an address of its own."
    faults, taken = [], {}
    for name, cells in pages.items():
        facts = front_matter(cells)
        faults += [
            f'{name} has no {fact}: its first cell is a `# title` and a `> description`'
            for fact in ('title', 'description')
            if not facts.get(fact)
        ]
        address = (Path(name).parent / facts.get('output-file', name)).as_posix()
        if address in taken:
            faults.append(f'{name} and {taken[address]} are both written to {address}')
        taken[address] = name
    return faults


def addresses(pages):
    "Where each page will lie in the site."
    return {
        (Path(name).parent / front_matter(cells).get('output-file', name)).as_posix()
        for name, cells in pages.items()
    }


def prose(cells):
    "Text of a page without its code."
    text = '\n\n'.join(''.join(c['source'] or '') for c in cells if c['cell_type'] == 'markdown')
    text = re.sub(r'^(```+|~~~+).*?^\1', '', text, flags=re.M | re.S)
    return re.sub(r'`[^`\n]*`(?!\])', '', text)


def check_links(folder, pages, site):
    "Links from page to page, and to pictures, lead somewhere."
    faults, there = [], addresses(pages)
    for name, cells in pages.items():
        for link in re.findall(r'\]\(([^)\s]+)', prose(cells)):
            target = unquote(link.split('#')[0])
            if target.startswith(site):
                found = target.removeprefix(site).strip('/') in {*there, ''}
            elif re.match(r'[a-z]+:', target) or not target:
                continue
            else:
                found = (folder / name).parent.joinpath(target).is_file()
            if not found:
                faults.append(f'{name} links to {link}, which is not there')
    return faults


def check_home_page(pages):
    "nbdev keeps title and description of the first cell only; the disclaimer must not be lost."
    text = prose(pages.get('index.ipynb', []))
    return [] if HOME_PAGE_SAYS in text else [f'index.ipynb does not say “{HOME_PAGE_SAYS}”']


def read_pages(folder):
    "Cells of every processed page, by its path."
    return {
        path.relative_to(folder).as_posix(): json.loads(path.read_text(encoding='utf8'))['cells']
        for path in sorted(folder.rglob('*.ipynb'))
        if '.ipynb_checkpoints' not in path.parts
    }


def check(folder, output, site):
    "Everything that is wrong with processed notebooks; empty if nothing is."
    pages = read_pages(folder)
    return [
        *check_config(folder, output),
        *check_sidebar(folder, pages),
        *check_titles(pages),
        *check_links(folder, pages, site),
        *check_home_page(pages),
    ]


def process():
    "What `nbdev_proc_nbs` does, but for Quarto: (folder, name of the output folder, site)."
    from nbdev.config import get_config
    from nbdev.quarto import proc_nbs, refresh_quarto_yml

    os.chdir(ROOT)
    settings = get_config()
    refresh_quarto_yml()
    # `force`: a page whose notebook was deleted would stay
    folder = proc_nbs(force=True)
    return folder, settings.doc_path.name, settings.doc_host + settings.doc_baseurl


if __name__ == '__main__':
    faults = check(*process())
    sys.exit('\n'.join(faults) if faults else 0)
