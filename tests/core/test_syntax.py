"The tests' own reading of code: other threads may write tracebacks meanwhile."

import gc
import sys
import threading
import traceback

from syntax import parse


def test_code_is_read_while_a_thread_writes_tracebacks(root):
    "Python's collector runs Python code in between, as it does where Hypothesis listens to it."
    text = (root / 'leukocls/runs/experiment.py').read_text(encoding='utf8')
    ended = threading.Event()

    def fail():
        while not ended.is_set():
            try:
                raise ValueError('one')
            except ValueError:
                traceback.format_exc()

    def listen(phase, info):
        sum(range(1000))

    thread, interval = threading.Thread(target=fail), sys.getswitchinterval()
    gc.callbacks.append(listen)
    sys.setswitchinterval(1e-6)
    thread.start()
    try:
        for _ in range(20):
            assert parse(text).body
    finally:
        sys.setswitchinterval(interval)
        gc.callbacks.remove(listen)
        ended.set()
        thread.join()
    assert gc.isenabled()
