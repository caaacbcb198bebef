"""A stranger's ONNX file: each rule by which a network is refused before any engine sees it, asked by
a network that breaks this rule and no other. What is let through, ONNX Runtime computes with the
sizes that were foretold.
"""

import numpy as np
import pytest

from leukocls.core.errors import ModelError
from leukocls.models import onnxfile
from leukocls.models.onnxfile import check_onnx

onnx = pytest.importorskip('onnx')
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

pytestmark = pytest.mark.once
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
SIDE = 8


def floats(*shape):
    return np.ones(shape, 'float32')


def whole(*values):
    return np.array(values, 'int64')


def network(nodes=(), weights=None, outputs=('outputs',), inputs=None, tail=True, **model):
    """An ONNX file. `x` are its pictures as maps (N, 3, 8, 8), `s` their sizes, `w` its weights by
    name; `nodes` stand between them and a mean of each map, which is what it gives.
    """
    taken = inputs or [
        helper.make_tensor_value_info('pictures', TensorProto.UINT8, ['N', SIDE, SIDE, 3])
    ]
    ends = [helper.make_node('GlobalAveragePool', ['x'], ['means'])]
    ends += [helper.make_node('Flatten', ['means'], ['outputs'])]
    graph = helper.make_graph(
        [
            helper.make_node('Cast', ['pictures'], ['numbers'], to=FLOAT),
            helper.make_node('Transpose', ['numbers'], ['x'], perm=[0, 3, 1, 2]),
            helper.make_node('Shape', ['x'], ['s']),
            *nodes,
            *(ends if tail else []),
        ],
        'g',
        taken,
        [helper.make_tensor_value_info(name, FLOAT, ['N', 3]) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()],
    )
    versions = model.pop('versions', [helper.make_opsetid('', 18)])
    return helper.make_model(graph, opset_imports=versions, ir_version=8, **model)


def node(op, *inputs, out='z', **attributes):
    return helper.make_node(op, inputs, [out] if isinstance(out, str) else out, **attributes)


def refused(model, why):
    data = model if isinstance(model, bytes) else model.SerializeToString()
    with pytest.raises(ModelError, match=why) as said:
        check_onnx(data)
    assert 'The network is not run' in str(said.value)


# Operators that fit: a node, its weights, and the sizes of what it gives for five pictures
FITS = [
    (node('Add', 'x', 'w'), dict(w=floats(3, 1, 1)), (5, 3, 8, 8)),
    (node('Reshape', 'x', 'w'), dict(w=whole(0, -1)), (5, 192)),
    (node('Squeeze', 'y', 'w'), dict(y=floats(1, 4), w=whole(0)), (4,)),
    (node('Unsqueeze', 'x', 'w'), dict(w=whole(1)), (5, 1, 3, 8, 8)),
    (node('Concat', 'x', 'x', axis=1), {}, (5, 6, 8, 8)),
    (
        node('Slice', 'x', 'a', 'b', 'c', 'd'),
        dict(a=whole(7), b=whole(-9), c=whole(2), d=whole(-2)),
        None,
    ),
    (node('Gather', 'x', 'w', axis=1), dict(w=whole(0, -1)), (5, 2, 8, 8)),
    (node('Tile', 'x', 'w'), dict(w=whole(1, 2, 1, 1)), (5, 6, 8, 8)),
    (node('Pad', 'x', 'w'), dict(w=whole(0, 0, 1, 1, 0, 0, 1, 1)), (5, 3, 10, 10)),
    (node('SpaceToDepth', 'x', blocksize=2), {}, (5, 12, 4, 4)),
    (node('ReduceMean', 'x', 'w', keepdims=0), dict(w=whole(2, 3)), (5, 3)),
    (node('TopK', 'x', 'w', axis=1, out=['z', 'places']), dict(w=whole(2)), (5, 2, 8, 8)),
    (node('MatMul', 'x', 'w'), dict(w=floats(8, 4)), (5, 3, 8, 4)),
    (node('Gemm', 'y', 'w', transB=1), dict(y=floats(5, 7), w=floats(2, 7)), (5, 2)),
    (node('Einsum', 'x', 'w', equation='nchw,ck->nkhw'), dict(w=floats(3, 2)), (5, 2, 8, 8)),
    (node('Conv', 'x', 'w', strides=[2, 2]), dict(w=floats(4, 3, 3, 3)), (5, 4, 3, 3)),
    (node('Conv', 'x', 'w', group=3), dict(w=floats(6, 1, 1, 1)), (5, 6, 8, 8)),
    (node('MaxPool', 'x', kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1), {}, (5, 3, 4, 4)),
    (node('LayerNormalization', 'x', 'w'), dict(w=floats(8)), (5, 3, 8, 8)),
    (node('BatchNormalization', 'x', 'w', 'w', 'w', 'w'), dict(w=floats(3)), (5, 3, 8, 8)),
]


@pytest.mark.parametrize('made, weights, sizes', FITS, ids=lambda v: getattr(v, 'op_type', ''))
def test_what_fits_is_let_through_and_computed_so(made, weights, sizes):
    model = network([made], weights)
    facts = check_onnx(model.SerializeToString())
    assert (facts.size, facts.channels, facts.widths) == (SIDE, 3, [3]) and facts.work > 0
    # what is between is shown as an output too, and ONNX Runtime says which sizes it has
    runtime = pytest.importorskip('onnxruntime')
    model.graph.output.append(helper.make_empty_tensor_value_info('z'))
    session = runtime.InferenceSession(
        model.SerializeToString(), providers=['CPUExecutionProvider']
    )
    pictures = np.zeros((5, SIDE, SIDE, 3), 'uint8')
    z = session.run(['z'], dict(pictures=pictures))[0]
    assert sizes is None or z.shape == sizes


# Operators that do not: a node, its weights, and a word of the refusal
FITS_NOT = [
    (node('Add', 'x', 'w'), dict(w=floats(5)), 'do not go together'),
    (node('Add', 'x', 'w'), dict(w=whole(1)), 'two kinds of numbers'),
    (node('Div', 's', 'w'), dict(w=whole(0)), 'division by zero'),
    (node('Where', 'w', 'x', 's'), dict(w=np.array([True])), 'two kinds of numbers'),
    (node('Cast', 'x', to=TensorProto.STRING), {}, 'type 8'),
    (node('Constant', value_string=b'words'), {}, 'strange attribute|another kind'),
    (
        node('ConstantOfShape', 's', value=numpy_helper.from_array(floats(2))),
        {},
        'more than one number',
    ),
    (node('Range', 'a', 'b', 'c'), dict(a=np.int64(0), b=np.int64(9), c=np.int64(0)), 'steps of 0'),
    (node('Reshape', 'x', 'w'), dict(w=whole(0, 0, 0, 0, 0)), 'a size that is not there'),
    (node('Reshape', 'x', 'w'), dict(w=whole(7, 7)), 'do not fill'),
    (node('Reshape', 'x', 'w'), dict(w=whole(-1, 7)), 'do not fill'),
    (node('Reshape', 'x', 'w'), dict(w=whole(*[1] * 65)), '65 sizes'),
    (node('Flatten', 'x', axis=9), {}, 'axis 9 of'),
    (node('Squeeze', 'x', 'w'), dict(w=whole(1)), 'not 1'),
    (node('Squeeze', 'y', 'w'), dict(y=floats(1, 1), w=whole(0, -2)), 'an axis twice'),
    (node('Transpose', 'x', perm=[0, 0, 1, 2]), {}, 'perm=0, 0, 1, 2'),
    (node('Concat', 'x', 'w', axis=1), dict(w=floats(1, 3, 4, 4)), 'several sizes'),
    (node('Split', 'x', 'w', axis=1, out=['z', 'y']), dict(w=whole(1, 1)), 'not the whole'),
    (node('Slice', 'x', 'a', 'b'), dict(a=whole(0, 0), b=whole(1)), 'several lengths'),
    (node('Slice', 'x', 'a', 'a', 'a'), dict(a=whole(1, 1)), 'an axis twice'),
    (node('Gather', 'x', 'w'), dict(w=floats(1)), 'no whole numbers'),
    (node('Gather', 'x', 'w', axis=1), dict(w=whole(3)), 'positions outside'),
    (node('Gather', 'x', 'w', axis=1), dict(w=whole(-4)), 'positions outside'),
    (node('GatherElements', 'x', 'w', axis=1), dict(w=whole(0)), 'another shape'),
    (node('GatherND', 'x', 'w'), dict(w=whole(0, 0, 0, 0, 0)), 'another shape'),
    (node('Tile', 'x', 'w'), dict(w=whole(2, 2)), 'repeats=2, 2'),
    (node('Tile', 'x', 'w'), dict(w=whole(1, 1, 1, -1)), 'repeats='),
    (node('Pad', 'x', 'w'), dict(w=whole(1, 1)), 'pads for other axes'),
    (node('Pad', 'x', 'w'), dict(w=whole(0, 0, -9, 0, 0, 0, 0, 0)), 'pads='),
    (node('SpaceToDepth', 'x', blocksize=0), {}, 'blocks of 0'),
    (node('SpaceToDepth', 'x', blocksize=3), {}, 'blocks of 3'),
    (node('DepthToSpace', 'x', blocksize=2), {}, 'blocks of 2'),
    (node('TopK', 'x', 'w', axis=1, out=['z', 'y']), dict(w=whole(9)), 'the 9 largest of 3'),
    (node('Resize', 'x', '', '', 'w', mode='nearest'), dict(w=whole(1, 3, 8)), 'sizes'),
    (node('MatMul', 'x', 'w'), dict(w=floats(7, 4)), 'rows of 8 by columns of 7'),
    (node('MatMul', 'x', 'w'), dict(w=np.float32(1)), 'a single number'),
    (node('MatMul', 'x', 'w'), dict(w=whole(*range(8))), 'two kinds of numbers'),
    (node('Gemm', 'x', 'w'), dict(w=floats(8, 8)), 'no tables'),
    (node('Gemm', 'w', 'w'), dict(w=floats(2, 7)), 'rows of 7 by columns of 2'),
    (node('Einsum', 'x', 'w', equation='nchw,k'), dict(w=floats(3)), 'equation'),
    (node('Einsum', 'x', 'w', equation='nchw,c->nz'), dict(w=floats(3)), 'equation'),
    (node('Einsum', 'x', 'w', equation='nchw,c->n'), dict(w=floats(4)), 'under one letter'),
    (node('Conv', 'x', 'w'), dict(w=floats(4, 2, 3, 3)), 'maps, not 3'),
    (node('Conv', 'x', 'w'), dict(w=np.ones((4, 3, 3, 3), 'int64')), 'two kinds'),
    (node('Conv', 'x', 'w', group=2), dict(w=floats(4, 3, 1, 1)), 'maps, not 3'),
    (node('Conv', 'x', 'w', kernel_shape=[5, 5]), dict(w=floats(4, 3, 3, 3)), 'another shape'),
    (node('Conv', 'x', 'w'), dict(w=floats(4, 3, 9, 9)), 'larger than the map'),
    (node('Conv', 'x', 'w', pads=[9, 9, 9, 9]), dict(w=floats(4, 3, 3, 3)), 'pads='),
    (node('Conv', 'x', 'w', strides=[0, 1]), dict(w=floats(4, 3, 3, 3)), 'strides=0, 1'),
    (node('MaxPool', 's', kernel_shape=[3]), {}, 'another kind'),
    (node('GlobalAveragePool', 's'), {}, 'another kind'),
    (node('BatchNormalization', 'x', 'w', 'w', 'w', 'w'), dict(w=floats(4)), 'other maps'),
    (node('InstanceNormalization', 'x', 'w', 'w'), dict(w=floats(4)), 'other maps'),
    (node('LayerNormalization', 'x', 'w'), dict(w=floats(9)), 'do not go together'),
    (node('Relu', 'gone'), {}, 'comes from nowhere'),
    (node('Relu', 'x', out='x'), {}, 'two values have the name'),
    (node('Relu', 'x', out=['z', 'y']), {}, 'outputs'),
    (node('Loop', 'x'), {}, 'has the operator `Loop`'),
    (node('FusedConv', 'x', domain='com.microsoft'), {}, 'an operator of `com.microsoft`'),
    (node('Reshape', 'x', 's', allowzero=0.5), {}, 'of another kind'),
]


@pytest.mark.parametrize('made, weights, why', FITS_NOT, ids=lambda v: getattr(v, 'op_type', ''))
def test_what_does_not_fit_is_refused_before_it_runs(made, weights, why):
    refused(network([made], weights), why)


def test_weights_are_in_the_file_and_of_their_sizes():
    def weights(**changes):
        model = network([node('Add', 'x', 'w')], dict(w=floats(3, 1, 1)))
        tensor = model.graph.initializer[0]
        for name, value in changes.items():
            setattr(tensor, name, value)
        return model

    check_onnx(weights().SerializeToString())
    refused(weights(data_location=TensorProto.EXTERNAL), 'in another file|is not among those known')
    refused(weights(data_type=TensorProto.STRING), 'weights are of type 8')
    refused(weights(raw_data=b'1234'), 'take 4 bytes in the file')
    huge = weights()
    huge.graph.initializer[0].dims[:] = [1 << 40, 1 << 40]
    refused(huge, 'weights have the sizes|bytes in the file')
    twice = weights()
    twice.graph.initializer.append(twice.graph.initializer[0])
    refused(twice, 'two weights have one name')


def test_it_takes_pictures_and_gives_a_table():
    def taking(name='pictures', kind=TensorProto.UINT8, sizes=('N', SIDE, SIDE, 3)):
        return network(inputs=[helper.make_tensor_value_info(name, kind, list(sizes))])

    check_onnx(taking().SerializeToString())
    refused(taking(name='pixels'), 'it takes `pixels`')
    refused(taking(kind=FLOAT), 'it takes `pictures`, not `pictures` as uint8')
    refused(taking(sizes=(1, SIDE, SIDE, 3)), 'takes pictures of')
    refused(taking(sizes=('N', SIDE, 9, 3)), 'takes pictures of')
    refused(taking(sizes=('N', 5000, 5000, 3)), 'takes pictures of')
    refused(taking(sizes=('N', SIDE, SIDE, 4)), 'takes pictures of')
    refused(network(outputs=['answers']), 'it gives answers')
    refused(network(outputs=['outputs', 'outputs']), 'it has 2 outputs')
    no_table = [node('Relu', 'x', out='outputs')]
    refused(network(no_table, tail=False), 'no table of numbers')
    by_number = [
        node('Reshape', 'x', 'a', out='row'),
        node('Shape', 'x', out='sizes'),
        node('Gather', 'sizes', 'b', out='n'),
        node('Concat', 'n', 'n', axis=0, out='square'),
        node('ConstantOfShape', 'square', out='outputs'),
    ]
    refused(
        network(by_number, dict(a=whole(1, -1), b=whole(0)), tail=False), 'depends on the number'
    )


def test_it_says_which_onnx_it_is_and_asks_for_nothing_else():
    def of(*versions):
        return network(versions=[helper.make_opsetid(*v) for v in versions])

    check_onnx(of(('', 18)).SerializeToString())
    refused(of(('', 18), ('com.microsoft', 1)), 'operators of .*com.microsoft')
    refused(of(('', 9)), 'which version of ONNX')
    refused(of(), 'which version of ONNX')


def test_work_and_size_have_limits(monkeypatch):
    model = network([node('MatMul', 'x', 'w')], dict(w=floats(8, 8)))
    check_onnx(model.SerializeToString())
    with monkeypatch.context() as m:
        m.setattr(onnxfile, 'MOST_WORK', 100)
        refused(model, 'multiplications')
    with monkeypatch.context() as m:
        m.setattr(onnxfile, 'MOST_NODES', 3)
        refused(model, 'more than 3 operators')
    with monkeypatch.context() as m:
        m.setattr(onnxfile, 'MOST_FIELDS', 9)
        refused(model, 'more than 9 fields')


# A file that is no ONNX, byte by byte: a key is the field's number times 8, plus how it is written
DAMAGED = {
    'a number that does not end': b'\x08' + b'\xff' * 11,
    'a number above 64 bits': b'\x08' + b'\xff' * 9 + b'\x7f',
    'cut within a number': b'\x08\xff',
    'a field of 100 bytes in 2': b'\x3a\x64\x00\x00',
    'a message written as a number': b'\x38\x01',
    'an unknown field': b'\xf8\x3f\x01',
    'two versions': b'\x08\x07\x08\x07',
    'a name that is no text': b'\x3a\x06\x0a\x04\x22\x02\xff\xfe',
}


@pytest.mark.parametrize('what', DAMAGED)
def test_a_damaged_file_is_refused_in_words(what):
    refused(DAMAGED[what], 'damaged|cut short|not among those known|two of|no text')


def test_every_beginning_of_a_network_is_refused():
    data = network([node('Conv', 'x', 'w')], dict(w=floats(4, 3, 3, 3))).SerializeToString()
    check_onnx(data)
    for end in range(0, len(data) - 1, 7):
        refused(data[:end], '')
