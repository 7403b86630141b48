"""TensorFlow.js's tf.image.cropAndResize in node, forward only: in JavaScript on the CPU, and in WebAssembly.

Node is driven over a pipe (tfjs/server.js). It keeps the tensors, so the timed part is the call and one line in each
direction; the image is sent in `prepare`, and the result returns in `to_numpy`. All is NHWC.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import math
import shutil
import signal
import subprocess
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from harness.backends import Makers
from harness.backends.peers.environments import node_modules
from harness.backends.peers.snippets import program
from harness.operators.arrays import LAYOUTS, Array, Direction
from harness.operators.crop_and_resize.case import METHODS, Inputs
from harness.operators.implementation import Backend
from harness.operators.sheet import Sheet
from harness.operators.verdict import Crash

_SERVER = Path(__file__).parent / "tfjs" / "server.js"
_LIBC, _PR_SET_PDEATHSIG = ctypes.CDLL(None), 1
_PLACES = {"cpu": "CPU, JavaScript", "wasm": "CPU, WebAssembly"}


class Node:
    """One node process with one backend of TensorFlow.js, started on first use and restarted after it ends."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self.folder = kind, folder
        self.garbage: list[int] = []
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, question: str, body: bytes = b"", **rest: Any) -> dict[str, Any]:
        """Node's answer to a question; RuntimeError for a JavaScript exception, Crash if node ended."""
        process = self._process or self._begin()
        forget, self.garbage = self.garbage, []
        head = json.dumps({"ask": question, "bytes": len(body), "forget": forget, **rest})
        with contextlib.suppress(BrokenPipeError):  # a missing answer reports that node has ended
            process.stdin.write(head.encode() + b"\n" + body)  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
        return self._answer(process)

    def read(self, number: int) -> bytes:
        """The bytes of a result held by node."""
        size: int = self.ask("read", id=number)["bytes"]
        return self._process.stdout.read(size)  # type: ignore[union-attr]

    def _answer(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        line = process.stdout.readline()  # type: ignore[union-attr]
        if not line:
            self._process, self.garbage = None, []
            code = process.wait()
            _end(process)
            ending = f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
            raise Crash(f"node ended: {ending}.")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def _begin(self) -> subprocess.Popen[bytes]:
        self._process = subprocess.Popen(
            [shutil.which("node") or "node", _SERVER, self.kind],
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            preexec_fn=_end_with_this_one,
        )
        weakref.finalize(self, _end, self._process)
        self._answer(self._process)
        return self._process


class RemoteTensor:
    """A tensor held by node under a number, released with this object."""

    def __init__(self, node: Node, answer: dict[str, Any]) -> None:
        self.node, self.answer, self.number = node, answer, int(answer["id"])
        weakref.finalize(self, node.garbage.append, self.number)


def make_crop_and_resize(name: str, kind: str) -> Backend[Inputs]:
    """The documentation is that of tf.image.cropAndResize in tfjs-core/src/ops/image/crop_and_resize.ts.

    MissingLibrary if node or its modules are missing.
    """
    folder = node_modules()
    sheet = Sheet(
        operator="crop_and_resize",
        index_dtypes=("int32", "int64"),  # "1d int32 tensor": given as such
        layouts=LAYOUTS,
        methods=METHODS,  # "Optional string from 'bilinear' | 'nearest'"
        empty=("boxes",),
    )
    package = folder / "node_modules" / "@tensorflow" / "tfjs-core" / "package.json"
    version = json.loads(package.read_text(encoding="utf-8"))["version"]
    return Backend(
        name=name,
        title=f"TensorFlow.js {version} ({_PLACES[kind]})",
        sheet=sheet,
        prepare=partial(_prepare, Node(kind, folder)),
        to_numpy=_to_numpy,
        snippet=partial(snippet, kind),
    )


BACKENDS: Makers = {("crop_and_resize", f"tfjs_{kind}"): partial(make_crop_and_resize, kind=kind) for kind in _PLACES}


def _prepare(node: Node, inputs: Inputs, direction: Direction) -> Callable[[], RemoteTensor]:
    indices = inputs.box_indices.astype(np.int32)
    arrays = (_channels_last(inputs.image), np.ascontiguousarray(inputs.boxes), np.ascontiguousarray(indices))
    headers = [{"shape": each.shape, "dtype": each.dtype.name} for each in arrays]
    remote_inputs = RemoteTensor(node, node.ask("hold", b"".join(each.tobytes() for each in arrays), arrays=headers))
    size, method, extrapolation = inputs.crop_size, inputs.method, float(inputs.extrapolation_value)
    return lambda: RemoteTensor(
        node, node.ask("run", held=remote_inputs.number, size=size, method=method, extrapolation=extrapolation)
    )


def _to_numpy(result: RemoteTensor) -> Array:
    crops = np.frombuffer(result.node.read(result.number), np.float32).reshape(result.answer["shape"])
    return np.array(crops.transpose(0, 3, 1, 2), order="C")


def _channels_last(array: Array) -> Array:
    """A contiguous NHWC copy of an array in NCHW index order."""
    return np.array(array.transpose(0, 2, 3, 1), order="C")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a node process, if necessary, and closes its pipes."""
    process.kill()
    with contextlib.suppress(BrokenPipeError):
        process.communicate()


def _end_with_this_one() -> None:
    """Makes node end with its parent, however that ends: in an endless loop node would not notice a closed pipe."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def snippet(kind: str, inputs: Inputs, direction: Direction, index: tuple[int, ...]) -> str:
    """A JavaScript program, for node in a folder with the modules."""
    place = (index[0], *index[2:], index[1])
    rule = f'{list(inputs.crop_size)}, "{inputs.method}", {_number(inputs.extrapolation_value)}'
    return program(
        f'const tf = require("@tensorflow/tfjs-core"); require("@tensorflow/tfjs-backend-{kind}");',
        f'tf.setBackend("{kind}").then(() => {{',
        f"  const image = {_tensor(_channels_last(inputs.image))};",
        f"  const boxes = {_tensor(inputs.boxes)};",
        f"  const boxInd = {_tensor(inputs.box_indices.astype(np.int32))};",
        f"  const crops = tf.image.cropAndResize(image, boxes, boxInd, {rule});",
        f"  console.log(crops.arraySync(){''.join(f'[{k}]' for k in place)});",
        "});",
    )


def _tensor(array: Array) -> str:
    """An array as a TensorFlow.js expression."""
    return f'tf.tensor([{", ".join(map(_number, array.ravel()))}], {list(array.shape)}, "{array.dtype.name}")'


def _number(value: Any) -> str:
    """A JavaScript literal with the same value in float32."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "-Infinity" if value < 0 else "Infinity"
    text = str(value)
    return text if text == "-0.0" else text.removesuffix(".0")
