"""Where the time of one picture goes in a prediction with OpenVINO, by kind of layer, and how near each
kind is to the arithmetic limit of one core.

    python tests/bench/layers.py --arch mobilenetv2_100 efficientnet_b3 --out results/layers.csv

Random weights, 224 pixels, float32, one picture at a time on one core, as each of the streams of a
prediction works. Medians of 60 pictures. The limit is that of `leukocls bench`: what this core reaches in
products of matrices.
"""

import argparse
from collections import Counter
from statistics import median

import pandas as pd
import timm
import torch
from said import command

from leukocls.cli.bench import matrix_rate
from leukocls.data.images import Pixels
from leukocls.models.engines import openvino_core
from leukocls.models.networks import Ready, onnx_bytes

SIZE, PICTURES = 224, 60
POINTWISE, DEPTHWISE, OTHER = '1×1 convolutions', 'depthwise convolutions', 'other convolutions'
REST = 'the rest'


def kind_of(layer):
    "Of one that OpenVINO has timed."
    if layer.node_type == 'GroupConvolution':
        return DEPTHWISE
    if layer.node_type == 'Convolution':
        return POINTWISE if '1x1' in layer.exec_type else OTHER
    return REST


def arithmetic(net):
    "Kind → operations for one picture, two per multiplication with addition."
    found = Counter()

    def count(conv, given, maps):
        each = conv.in_channels // conv.groups * conv.kernel_size[0] * conv.kernel_size[1]
        of_convolution = DEPTHWISE if conv.groups > 1 else OTHER
        kind = POINTWISE if conv.kernel_size == (1, 1) else of_convolution
        found[kind] += 2 * maps.numel() * each

    for layer in net.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(count)
    with torch.inference_mode():
        net(torch.zeros(1, 3, SIZE, SIZE))
    return found


def seconds_of_kinds(net):
    "Kind → seconds for one picture on one core, of one picture after the other."
    data = onnx_bytes(Ready(net, (0.5,) * 3, (0.25,) * 3), Pixels(SIZE))
    core = openvino_core()
    settings = dict(INFERENCE_PRECISION_HINT='f32', NUM_STREAMS='1', INFERENCE_NUM_THREADS='1')
    compiled = core.compile_model(core.read_model(data), 'CPU', settings | dict(PERF_COUNT=True))
    request = compiled.create_infer_request()
    picture = torch.randint(0, 255, (1, SIZE, SIZE, 3), dtype=torch.uint8).numpy()
    seen = []
    for _ in range(PICTURES + 10):
        request.infer({0: picture})
        seconds = Counter()
        for layer in request.get_profiling_info():
            seconds[kind_of(layer)] += layer.real_time.total_seconds()
        seen.append(seconds)
    # the first ones wait for memory
    seen = seen[10:]
    return {kind: median(s[kind] for s in seen) for kind in (POINTWISE, DEPTHWISE, OTHER, REST)}


def rows_of(arch, limit):
    "A row for each kind of layer, and one for all."
    torch.manual_seed(0)
    net = timm.create_model(arch, num_classes=4).eval()
    seconds, work = seconds_of_kinds(net), arithmetic(net)
    seconds['all'], work['all'] = sum(seconds.values()), sum(work.values())
    for kind, taken in seconds.items():
        yield dict(
            arch=arch,
            layers=kind,
            milliseconds=round(1e3 * taken, 2),
            percent_of_time=round(100 * taken / seconds['all'], 1),
            percent_of_arithmetic=round(100 * work[kind] / work['all'], 1),
            percent_of_limit=round(100 * work[kind] / limit / taken, 1),
        )


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument('--arch', nargs='+', default=['mobilenetv2_100', 'efficientnet_b3'])
    p.add_argument('--out', default='results/layers.csv')
    a = p.parse_args()
    torch.set_num_threads(1)
    limit = matrix_rate()
    rows = [row for arch in a.arch for row in rows_of(arch, limit)]
    table = pd.DataFrame(rows).assign(command=command())
    table.to_csv(a.out, index=False)
    print(table.drop(columns='command').to_string(index=False))


if __name__ == '__main__':
    main()
