"""The page `nbs/cli/help.ipynb` shows the help of every command as it is now."""

import json
from pathlib import Path

import typer

from leukocls.cli.commands import app

PAGE = Path(__file__).parents[2] / 'nbs' / 'cli' / 'help.ipynb'


def shown():
    "Command ('' for the program) → its help as the page shows it."
    pages = {}
    for cell in json.loads(PAGE.read_text(encoding='utf8'))['cells']:
        for output in cell.get('outputs', []):
            text = ''.join(output['text'])
            first = text.split('[OPTIONS]')[0].split()
            pages[first[2] if len(first) > 2 else ''] = text
    return pages


def test_every_option_of_every_command_is_on_the_page():
    "Layout and types are typer's and differ with its version; names and help are ours."
    commands, pages = typer.main.get_command(app).commands, shown()
    visible = {name for name, command in commands.items() if not command.hidden}
    assert set(pages) == visible | {''}
    for name in visible:
        words = ' '.join(pages[name].split())
        assert ' '.join(commands[name].help.split()) in words, name
        for parameter in commands[name].params:
            help_words = ' '.join((getattr(parameter, 'help', None) or '').split())
            assert help_words in words, (name, parameter.name, 'run the page again')
            for option in parameter.opts:
                assert not option.startswith('--') or option in words, (name, option)


def test_no_more_than_there_is():
    import re

    commands, pages = typer.main.get_command(app).commands, shown()
    for name in set(pages) - {''}:
        lines = pages[name].split('Options:')[1].splitlines()
        starts = [re.findall(r'--[a-z-]+', line[:24])[:1] for line in lines if line[2:4] == '--']
        known = {flag for p in commands[name].params for flag in [*p.opts, *p.secondary_opts]}
        assert {flag for flags in starts for flag in flags} <= known, name


def test_the_page_is_plain_and_narrow():
    for name, text in shown().items():
        assert max(map(len, text.splitlines())) <= 90, name
        assert not set('─│╭╮╰╯\x1b') & set(text), name
