// TensorFlow.js for ../tfjs.py: node server.js cpu|wasm, in a folder with its modules.
//
// Each message is a line of JSON on stdin, and the bytes that it announces; so is each answer on stdout. Tensors stay
// here under a number until they are forgotten, so that a call that is timed carries no image through the pipe.
"use strict";
const fs = require("fs");
const { createRequire } = require("module");
const installed = createRequire(process.cwd() + "/");
const tf = installed("@tensorflow/tfjs-core");
const kind = process.argv[2];
installed(`@tensorflow/tfjs-backend-${kind}`);

let unread = Buffer.alloc(0);
const kept = new Map();
let count = 0;

// Reading waits: nothing else is to be done here. It ends when nobody is left to ask.
function more(atLeast) {
  const chunk = Buffer.allocUnsafe(Math.max(atLeast, 65536));
  const size = fs.readSync(0, chunk, 0, chunk.length, null);
  if (size === 0) process.exit(0);
  return chunk.subarray(0, size);
}

function line() {
  let end;
  while ((end = unread.indexOf(10)) < 0) unread = Buffer.concat([unread, more(0)]);
  const text = unread.subarray(0, end).toString();
  unread = unread.subarray(end + 1);
  return JSON.parse(text);
}

// An ArrayBuffer of its own, so that numbers are aligned.
function bytes(size) {
  const whole = new Uint8Array(size);
  let done = 0;
  while (done < size) {
    if (!unread.length) unread = more(size - done);
    const part = unread.subarray(0, size - done);
    whole.set(part, done);
    done += part.length;
    unread = unread.subarray(part.length);
  }
  return whole.buffer;
}

function write(head, values) {
  const body = values ? [Buffer.from(values.buffer, values.byteOffset, values.byteLength)] : [];
  for (const part of [Buffer.from(JSON.stringify(head) + "\n"), ...body]) {
    for (let done = 0; done < part.length; ) done += fs.writeSync(1, part, done);
  }
}

function keep(what) {
  kept.set(++count, what);
  return count;
}

const answers = {
  hold({ arrays }, body) {
    let at = 0;
    const tensors = arrays.map(({ shape, dtype }) => {
      const size = shape.reduce((a, b) => a * b, 1);
      const values = new (dtype === "int32" ? Int32Array : Float32Array)(body, at, size);
      at += 4 * size;
      return tf.tensor(values, shape, dtype);
    });
    return [{ id: keep(tensors) }];
  },
  run({ held, size, method, extrapolation }) {
    const [image, boxes, indices] = kept.get(held);
    const crops = tf.image.cropAndResize(image, boxes, indices, size, method, extrapolation);
    crops.dataSync(); // what is asked for has been computed when this is answered
    return [{ id: keep([crops]), shape: crops.shape }];
  },
  read({ id }) {
    const values = kept.get(id)[0].dataSync();
    return [{ bytes: values.byteLength }, values];
  },
};

tf.setBackend(kind).then(async () => {
  await tf.ready();
  write({ version: tf.version_core, backend: tf.getBackend() });
  for (;;) {
    const asked = line();
    const body = bytes(asked.bytes || 0);
    for (const id of asked.forget || []) {
      kept.get(id).forEach((tensor) => tensor.dispose());
      kept.delete(id);
    }
    try {
      write(...answers[asked.ask](asked, body));
    } catch (error) {
      write({ error: String(error.message || error).slice(0, 300) });
    }
  }
});
