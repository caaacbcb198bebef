"Python source as a tree, for tests that read code."

import ast
import gc


def parse(text):
    """`ast.parse`, also while another thread writes a traceback.

    Python 3.11 counts one depth for all threads. When its collector runs Python code in the middle
    of a conversion (Hypothesis listens to it), another thread may parse a line for a traceback, and
    both depths differ from what they should be: `SystemError`. Without the collector nothing is
    interrupted.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(text)
    finally:
        if collects:
            gc.enable()
