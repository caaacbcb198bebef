"""What is wrong with a data set before anybody trains on it. `leukocls.audit(data)` is the call."""

import sys
import types

from leukocls._lazy import lazy

_HOME = {
    'findings': (
        'SHORTCUTS FINDINGS Audit audit table_to_audit leaks_between shortcut_accuracy shortcuts '
        'shortcut_run intra_patient_correlation about_patients register_finding finding '
        'thumbnail_html'
    ),
    'labels': 'DoubtfulLabels label_errors doubtful corrected',
}
__getattr__, __dir__, __all__ = lazy(__name__, _HOME)


class _Callable(types.ModuleType):
    "A module that can be called: `from leukocls import audit; audit(data)`."

    def __call__(self, *args, **kwargs):
        return self.audit(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
