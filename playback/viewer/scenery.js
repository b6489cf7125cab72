// What stands still: roads, markings, crossings and stop lines, painted once per view onto a layer of its own.
"use strict";

// Colours that people with any colour vision can tell apart: speed runs from red over yellow to blue, signals are
// bluish green, yellow and vermilion, and never told by colour alone.
const PALETTES = {
  light: {
    land: "#f3f1ea", kerb: "#a9afb8", road: "#cdd2d9", inner: "#c6ccd4", path: "#e2ddd1", rail: "#b7aa98", zebra: "#ffffff",
    marking: "#ffffff", stop: "#ffffff", arrow: "#ffffff", ink: "#1c2530", outline: "rgba(20,28,38,.55)", glass: "rgba(15,23,33,.5)",
    person: "#8e44ad", shade: "rgba(20,28,38,.16)", select: "#111827",
    speed: ["#a50026", "#d73027", "#f46d43", "#fdae61", "#fee090", "#b7dcea", "#74add1", "#4575b4", "#2f5aa8"],
    G: "#009e73", y: "#f0b400", r: "#d23f31", off: "#8b949e",
  },
  dark: {
    land: "#10151c", kerb: "#414b58", road: "#2b333e", inner: "#2e3742", path: "#232a33", rail: "#4b4338", zebra: "#77828f",
    marking: "#55606d", stop: "#97a3b0", arrow: "#5d6875", ink: "#e8edf3", outline: "rgba(0,0,0,.6)", glass: "rgba(0,0,0,.55)",
    person: "#d7a6f5", shade: "rgba(0,0,0,.35)", select: "#ffffff",
    speed: ["#ff3b4e", "#ff5a45", "#ff8350", "#ffb25f", "#ffe08a", "#c8e9f5", "#8fd0f0", "#62b3ec", "#4a9cf0"],
    G: "#1fd19c", y: "#ffd23f", r: "#ff5c4d", off: "#6b7682",
  },
};
const FREE_MPS = 50 / 3.6; // where the colours of speed end

class Scenery {
  constructor(network) {
    this.lanes = network.lanes.map(lane => ({ kind: lane.k, width: lane.w / 10, flat: unfold(lane.s), marked: lane.m, edge: lane.e }));
    this.bounds = { left: Infinity, right: -Infinity, low: Infinity, high: -Infinity };
    for (const lane of this.lanes) for (let i = 0; i < lane.flat.length; i += 2) this.widen(this.bounds, lane.flat[i], lane.flat[i + 1], 0);
    this.strokes = new Map(); // "kind width" → path
    this.markings = new Path2D();
    this.zebras = new Map();
    [this.junctions, this.joints] = [network.junctions, network.joints].map(shapes => {
      const path = new Path2D();
      for (const shape of shapes) { trace(path, unfold(shape)); path.closePath(); }
      return path;
    });
    for (const lane of this.lanes) this.add(lane);
    this.signals = network.signals.map(signal => this.signal(signal));
    this.stops = new Path2D();
    this.arrows = new Path2D();
    for (const signal of this.signals) for (const head of signal.lanes) this.addStop(head);
    this.layer = document.createElement("canvas");
    this.painted = null;
  }
  widen(bounds, x, y, margin) {
    bounds.left = Math.min(bounds.left, x - margin); bounds.right = Math.max(bounds.right, x + margin);
    bounds.low = Math.min(bounds.low, y - margin); bounds.high = Math.max(bounds.high, y + margin);
  }
  add(lane) {
    const key = `${lane.kind} ${lane.width}`;
    if (!this.strokes.has(key)) this.strokes.set(key, new Path2D());
    trace(this.strokes.get(key), lane.flat);
    if (lane.kind === "crossing") {
      if (!this.zebras.has(lane.width)) this.zebras.set(lane.width, new Path2D());
      trace(this.zebras.get(lane.width), lane.flat);
    }
    if (lane.marked) trace(this.markings, lane.flat, lane.width / 2);
  }
  /** A signal with its middle, its links, and the lanes that end at it. */
  signal(from) {
    const lanes = new Map(), links = [];
    const area = { left: Infinity, right: -Infinity, low: Infinity, high: -Infinity };
    for (const [index, lane, direction, to] of from.links) {
      if (!lanes.has(lane)) {
        const of = this.lanes[lane], end = endOf(of.flat);
        lanes.set(lane, { lane, width: of.width, walk: direction === "w", end, other: endOf(of.flat, true), links: [] });
      }
      const link = { index, lane, direction, to, edge: this.lanes[lane].edge };
      lanes.get(lane).links.push(link);
      links.push(link);
    }
    const ordered = "tlLswrRo";
    for (const head of lanes.values()) {
      // from left to right as one drives; one slot for links that share an index
      head.links.sort((a, b) => ordered.indexOf(a.direction) - ordered.indexOf(b.direction));
      head.slots = [...new Set(head.links.map(link => link.index))];
      this.widen(area, head.end.x, head.end.y, 8);
    }
    const x = (area.left + area.right) / 2, y = (area.low + area.high) / 2;
    return { ...from, links, lanes: [...lanes.values()], x, y, area };
  }
  addStop(head) {
    if (head.walk) return;
    const { x, y, ux, uy } = head.end, half = head.width / 2 * 0.92;
    this.stops.moveTo(x - uy * half, y + ux * half);
    this.stops.lineTo(x + uy * half, y - ux * half);
    const lane = this.lanes[head.lane];
    if (lengthOf(lane.flat) < 12) return;
    for (const direction of new Set(head.links.map(link => link.direction))) arrow(this.arrows, head.end, 5.5, direction);
  }

  /** Copy the layer to a context; painted anew where the view has changed, or scaled while it is moving. */
  draw(context, camera, width, height, ratio, theme, moving) {
    const now = { x: camera.x, y: camera.y, scale: camera.scale, width, height, ratio, theme };
    const was = this.painted, margin = Math.round(0.25 * Math.max(width, height));
    const same = was && was.width === width && was.height === height && was.ratio === ratio && was.theme === theme;
    const near = same && was.scale === now.scale &&
      Math.abs(was.x - now.x) * now.scale < was.margin && Math.abs(was.y - now.y) * now.scale < was.margin;
    if (!near && !(same && moving && Math.abs(Math.log2(was.scale / now.scale)) < 1.5)) this.paint({ ...now, margin });
    const of = this.painted, k = now.scale / of.scale;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.fillStyle = PALETTES[theme].land;
    context.fillRect(0, 0, width, height);
    const left = width / 2 + (of.x - now.x) * now.scale - (width / 2 + of.margin) * k;
    const top = height / 2 - (of.y - now.y) * now.scale - (height / 2 + of.margin) * k;
    context.imageSmoothingEnabled = k !== 1;
    if (k === 1) {
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.drawImage(this.layer, Math.round(left * ratio), Math.round(top * ratio));
    } else context.drawImage(this.layer, left, top, (width + 2 * of.margin) * k, (height + 2 * of.margin) * k);
  }
  paint(view) {
    const { width, height, ratio, margin, scale } = view, colours = PALETTES[view.theme];
    const w = width + 2 * margin, h = height + 2 * margin;
    this.layer.width = Math.round(w * ratio); this.layer.height = Math.round(h * ratio);
    const to = this.layer.getContext("2d", { alpha: false });
    to.fillStyle = colours.land;
    to.fillRect(0, 0, this.layer.width, this.layer.height);
    const k = scale * ratio;
    to.setTransform(k, 0, 0, -k, w * ratio / 2 - view.x * k, h * ratio / 2 + view.y * k);
    to.lineJoin = "round";
    const thin = 1.1 / scale; // a line that can be seen from afar
    const strokes = [...this.strokes].map(([key, path]) => [key.split(" ")[0], Number(key.split(" ")[1]), path]);
    const all = (kinds, colour, more, cap = "butt") => {
      to.strokeStyle = colour; to.lineCap = cap;
      for (const [kind, breadth, path] of strokes)
        if (kinds.includes(kind)) { to.lineWidth = Math.max(breadth + more, thin); to.stroke(path); }
    };
    all(["path", "walkingarea"], colours.path, 0.1, "round");
    to.strokeStyle = colours.kerb; to.lineWidth = 0.9; to.stroke(this.junctions);
    all(["road", "rail"], colours.kerb, 0.9);
    all(["rail"], colours.rail, 0);
    to.fillStyle = colours.inner; to.fill(this.junctions); to.fill(this.joints);
    all(["internal"], colours.inner, 0);
    all(["road"], colours.road, 0.06);
    if (scale > 0.8)
      for (const [breadth, path] of this.zebras) {
        to.strokeStyle = colours.zebra; to.lineCap = "butt"; to.globalAlpha = 0.85;
        to.setLineDash([0.5, 0.5]); to.lineWidth = breadth * 0.86; to.stroke(path);
        to.setLineDash([]); to.globalAlpha = 1;
      }
    if (scale > 1.2) {
      to.strokeStyle = colours.marking; to.lineWidth = Math.max(0.14, 0.7 / scale); to.setLineDash([3, 4.5]);
      to.stroke(this.markings); to.setLineDash([]);
    }
    if (scale > 1) { to.strokeStyle = colours.stop; to.lineWidth = Math.max(0.45, 0.8 / scale); to.lineCap = "butt"; to.stroke(this.stops); }
    if (scale > 3.2) { to.strokeStyle = colours.arrow; to.lineWidth = 0.22; to.lineCap = "round"; to.stroke(this.arrows); }
    this.painted = view;
  }
}

/** A flat shape as a line, moved `aside` to the right of its direction. */
function trace(path, flat, aside = 0) {
  for (let i = 0; i < flat.length; i += 2) {
    let x = flat[i], y = flat[i + 1];
    if (aside) {
      const a = Math.max(i - 2, 0), b = Math.min(i + 2, flat.length - 2);
      const dx = flat[b] - flat[a], dy = flat[b + 1] - flat[a + 1], far = Math.hypot(dx, dy) || 1;
      x += dy / far * aside; y -= dx / far * aside;
    }
    if (i) path.lineTo(x, y); else path.moveTo(x, y);
  }
}

const TURNS = { s: 0, l: 1, L: 0.5, r: -1, R: -0.5, t: 2 };

/** An arrow on the lane `back` metres before its end: straight, or bent to the left or right. */
function arrow(path, end, back, direction, size = 1) {
  const turn = (TURNS[direction] ?? 0) * Math.PI / 2 * (direction === "t" ? 0.9 : 1);
  const put = (along, left) => [end.x - end.ux * (back - along * size) - end.uy * left * size, end.y - end.uy * (back - along * size) + end.ux * left * size];
  const bend = turn ? 1.1 : 2.6, tip = [bend + 1.2 * Math.cos(turn), 1.2 * Math.sin(turn)];
  if (turn) { path.moveTo(...put(0, 0)); path.lineTo(...put(bend, 0)); path.lineTo(...put(...tip)); }
  else { tip[0] = bend; path.moveTo(...put(0, 0)); path.lineTo(...put(...tip)); }
  for (const side of [0.75, -0.75]) {
    path.moveTo(...put(...tip));
    path.lineTo(...put(tip[0] - 0.75 * Math.cos(turn + side), tip[1] - 0.75 * Math.sin(turn + side)));
  }
}
