"""Names that are imported when they are first used (PEP 562), so that importing a wing costs nothing."""

import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings


def lazy(package, homes):
    """`__getattr__`, `__dir__` and `__all__` of a package from a table: module → its public names,
    separated by spaces. A module of another wing is named in full.
    """
    home = {name: module for module, names in homes.items() for name in names.split()}

    def __getattr__(name):
        if name not in home:
            raise AttributeError(f'module `{package}` has no attribute `{name}`')
        from leukocls.core.packages import missing

        try:
            module = home[name] if home[name].startswith('leukocls.') else f'{package}.{home[name]}'
            with warnings.catch_warnings():
                # what fastai's import says to its own makers
                warnings.simplefilter('ignore', FutureWarning)
                return getattr(importlib.import_module(module), name)
        except ModuleNotFoundError as e:
            raise missing(e) from e

    def __dir__():
        return sorted(home)

    return __getattr__, __dir__, list(home)


class OldNames(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds modules that were moved by their old names, so that what was pickled or written then
    still opens: `import leukocls.recipes` gives `leukocls.train.recipes`.
    """

    def __init__(self, moved):
        self.moved = moved

    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self) if name in self.moved else None

    def exec_module(self, module):
        sys.modules[module.__name__] = importlib.import_module(self.moved[module.__name__])
