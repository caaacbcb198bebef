"""The command that made a result, as anybody can give it: folders by their names, wherever they lie
here.
"""

import shlex
import sys
from pathlib import Path


def _short(word):
    key, _, path = word.rpartition('=')
    return f'{key}={_short(path)}' if key else Path(word).name if Path(word).is_absolute() else word


def command():
    return shlex.join(
        ['python', f'tests/bench/{Path(sys.argv[0]).name}', *map(_short, sys.argv[1:])]
    )
