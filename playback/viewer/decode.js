// Reads .replay files: the container, gzip sections, variable-length integers, tracks and arrays.
// The formats are those of playback/container.py and playback/codec.py.
"use strict";

function fromBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const binary = atob(text), bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

async function gunzip(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Head and content of a replay's bytes. */
async function readReplay(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset), text = new TextDecoder();
  const size = view.getUint32(10, true);
  const head = JSON.parse(text.decode(bytes.subarray(14, 14 + size)));
  const sections = {};
  let at = 14 + size;
  await Promise.all(head.sections.map(([name, length]) => {
    const packed = bytes.subarray(at, at + length);
    at += length;
    return gunzip(packed).then(data => { sections[name] = data; });
  }));
  const json = name => JSON.parse(text.decode(sections[name]));
  const replay = { head, decisions: decodeArrays(sections.decisions) };
  for (const name of ["network", "signals", "vehicles", "persons", "curves"]) replay[name] = json(name);
  const lengths = replay.vehicles.type_of.map(type => replay.vehicles.types[type].length_m);
  replay.vehicleTracks = decodeTracks(sections.vehicle_tracks, head.steps, lengths);
  replay.personTracks = decodeTracks(sections.person_tracks, head.steps, replay.persons.ids.map(() => 0.5));
  for (const signal of Object.values(replay.signals)) {
    let step = 0;
    signal.from = Int32Array.from(signal.after, more => (step += more));
  }
  return replay;
}

function decodeArrays(bytes) {
  const size = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + size)));
  const types = { u1: Uint8Array, i2: Int16Array, i4: Int32Array, f4: Float32Array }, arrays = {};
  let at = 4 + size;
  for (const [name, [type, shape]] of Object.entries(head)) {
    const count = shape.reduce((a, b) => a * b, 1), data = new types[type](count), raw = new Uint8Array(data.buffer);
    const width = data.BYTES_PER_ELEMENT;
    for (let byte = 0; byte < width; byte++)
      for (let i = 0; i < count; i++) raw[i * width + byte] = bytes[at++];  // little-endian, as all browsers are
    arrays[name] = { data, shape, at: (d, s = 0, p = 0) => data[d + shape[0] * (s + (shape[1] || 1) * p)] };
  }
  return arrays;
}

/**
 * Where everybody was. x, y are of the front bumper [m]; ux, uy is where the body points: its rear axle is dragged behind
 * the front like a trailer. Of each step, `points[start[step]]` to `points[start[step + 1] - 1]` are the points, and
 * `pieces` says of which piece each is.
 */
function decodeTracks(bytes, steps, lengths) {
  let place = 0;
  const next = () => {
    let byte = bytes[place++];
    if (byte < 128) return (byte >>> 1) ^ -(byte & 1);
    let value = byte & 127, shift = 7;
    do { byte = bytes[place++]; value |= (byte & 127) << shift; shift += 7; } while (byte >= 128);
    return (value >>> 1) ^ -(value & 1);
  };
  const count = next(), total = next();
  const columns = Array.from({ length: 6 }, () => {
    const column = new Int32Array(count);
    for (let n = 0, sum = 0; n < count; n++) column[n] = sum += next();
    return column;
  });
  const [thing, first, length, angle, x0, y0] = columns;
  const begin = new Int32Array(count + 1);
  const x = new Float32Array(total), y = new Float32Array(total);
  const ux = new Float32Array(total), uy = new Float32Array(total);
  const start = new Int32Array(steps + 2);
  for (let n = 0, p = 0; n < count; n++) {
    begin[n] = p;
    const reach = Math.max(0.7 * (lengths[thing[n]] || 5), 0.5), turn = angle[n] * Math.PI / 180;
    let px = x0[n], py = y0[n], vx = 0, vy = 0;
    let rx = px / 10 - reach * Math.sin(turn), ry = py / 10 - reach * Math.cos(turn);
    for (let k = 0; k < length[n]; k++, p++) {
      vx += next(); vy += next();
      px += vx; py += vy;
      const fx = px / 10, fy = py / 10, dx = fx - rx, dy = fy - ry, far = Math.hypot(dx, dy) || 1;
      x[p] = fx; y[p] = fy; ux[p] = dx / far; uy[p] = dy / far;
      rx = fx - reach * ux[p]; ry = fy - reach * uy[p];
      start[first[n] + k + 1]++;
    }
  }
  begin[count] = total;
  for (let s = 0; s <= steps; s++) start[s + 1] += start[s];
  const points = new Int32Array(total), pieces = new Int32Array(total), fill = start.slice();
  for (let n = 0; n < count; n++)
    for (let k = 0; k < length[n]; k++) {
      const slot = fill[first[n] + k]++;
      points[slot] = begin[n] + k;
      pieces[slot] = n;
    }
  const piecesOf = new Map();
  for (let n = 0; n < count; n++) piecesOf.has(thing[n]) ? piecesOf.get(thing[n]).push(n) : piecesOf.set(thing[n], [n]);
  return { thing, first, length, begin, x, y, ux, uy, start, points, pieces, piecesOf };
}
