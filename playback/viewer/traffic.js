// What moves: vehicles, pedestrians and signal heads of one replay, at any moment.
"use strict";

const LONG_M = 10; // longer vehicles bend along their way
const BRAKING = -1.2; // [m/s²] from which on brake lights are shown

class Side {
  constructor(replay, scenery, section) {
    this.replay = replay;
    this.scenery = scenery;
    this.section = section;
    this.canvas = section.querySelector("canvas");
    this.context = this.canvas.getContext("2d", { alpha: false });
    this.step_s = replay.head.timing.sim_step_s;
    const { vehicles } = replay;
    this.sizes = vehicles.type_of.map(type => vehicles.types[type]);
    this.tripOf = new Map(vehicles.trips.id.map((id, n) => [id, n]));
    this.numberOf = new Map(vehicles.ids.map((id, n) => [id, n]));
    this.shown = { vehicles: [], persons: 0 };
    this.signalOf = new Map(scenery.signals.map((signal, n) => [signal.id, n]));
    this.states = scenery.signals.map(signal => replay.signals[signal.id]);
  }

  /** The state of a signal (its number) at a step. */
  state(signal, step) {
    const of = this.states[signal];
    return of ? of.states[of.state[lastAtMost(of.from, step)]] : "";
  }
  /** When a signal's present state began, and when it ends [steps]. */
  interval(signal, step) {
    const of = this.states[signal], n = lastAtMost(of.from, step);
    return [of.from[n], n + 1 < of.from.length ? of.from[n + 1] : this.replay.head.steps];
  }

  draw(camera, moment, theme, ratio, moving, selected) {
    const width = this.canvas.clientWidth, height = this.canvas.clientHeight;
    if (!width || !height) return;
    if (this.canvas.width !== Math.round(width * ratio) || this.canvas.height !== Math.round(height * ratio)) {
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
    }
    const to = this.context, colours = PALETTES[theme];
    this.scenery.draw(to, camera, width, height, ratio, theme, moving);
    camera.apply(to, width, height, ratio);
    const near = camera.toWorld(0, height, width, height), far = camera.toWorld(width, 0, width, height);
    const window = { left: near.x - 25, right: far.x + 25, low: near.y - 25, high: far.y + 25 };
    const step = Math.min(Math.floor(moment), this.replay.head.steps - 1);
    if (selected.vehicle) this.drawWay(to, selected.vehicle, step, camera, colours);
    this.drawHeads(to, step, camera, window, colours);
    this.drawVehicles(to, moment, camera, window, colours, selected);
    this.drawPersons(to, moment, camera, window, colours);
    this.drawSigns(to, step, camera, window, colours, ratio, selected, width, height);
  }

  /** Where a point is at a fraction of the step after it; whoever is about to leave goes on as before. */
  static between(tracks, point, piece, share, out) {
    const last = tracks.begin[piece + 1] - 1, first = tracks.begin[piece];
    const { x, y, ux, uy } = tracks;
    let from = point, to = point + 1;
    if (point === last) { to = point; from = Math.max(point - 1, first); }
    const dx = x[to] - x[from], dy = y[to] - y[from];
    out.x = x[point] + dx * share; out.y = y[point] + dy * share; out.moved = Math.hypot(dx, dy);
    const next = Math.min(point + 1, last);
    out.ux = ux[point] + (ux[next] - ux[point]) * share; out.uy = uy[point] + (uy[next] - uy[point]) * share;
    const before = Math.max(from - 1, first);
    out.before = Math.hypot(x[from] - x[before], y[from] - y[before]);
  }

  drawVehicles(to, moment, camera, window, colours, selected) {
    const tracks = this.replay.vehicleTracks, step = Math.min(Math.floor(moment), this.replay.head.steps - 1);
    const share = clamp(moment - step, 0, 1), scale = camera.scale, detailed = scale > 4.5;
    const buckets = colours.speed.map(() => new Path2D()), glass = new Path2D(), brakes = new Path2D(), edges = new Path2D();
    const at = {}, list = [], bent = [];
    const least = 3.4 / scale; // [m] what can still be seen
    for (let slot = tracks.start[step]; slot < tracks.start[step + 1]; slot++) {
      const point = tracks.points[slot], piece = tracks.pieces[slot];
      Side.between(tracks, point, piece, share, at);
      const thing = tracks.thing[piece], size = this.sizes[thing];
      const { x, y, ux, uy } = at;
      list.push(thing, x, y, at.moved / this.step_s, point, piece);
      if (x < window.left || x > window.right || y < window.low || y > window.high) continue;
      const speed = at.moved / this.step_s;
      const bucket = Math.min(Math.floor(speed / FREE_MPS * (colours.speed.length - 1) + (speed > 0.05 ? 1 : 0)), colours.speed.length - 1);
      const path = buckets[bucket];
      const length = Math.max(size.length_m, least), half = Math.max(size.width_m, least * 0.62) / 2;
      if (size.length_m > LONG_M && scale > 1) { bent.push([bucket, this.along(tracks, point, piece, at, size.length_m), size.width_m]); continue; }
      const bx = x - ux * length, by = y - uy * length, wx = -uy * half, wy = ux * half;
      if (detailed) {
        // narrower at the front and rear ends, as cars are
        const n = Math.min(0.55, half), fx = x - ux * n, fy = y - uy * n, rx = bx + ux * n * 0.6, ry = by + uy * n * 0.6;
        path.moveTo(x + wx * 0.6, y + wy * 0.6);
        path.lineTo(fx + wx, fy + wy); path.lineTo(rx + wx, ry + wy); path.lineTo(bx + wx * 0.75, by + wy * 0.75);
        path.lineTo(bx - wx * 0.75, by - wy * 0.75); path.lineTo(rx - wx, ry - wy); path.lineTo(fx - wx, fy - wy); path.lineTo(x - wx * 0.6, y - wy * 0.6);
        path.closePath();
        if (size.width_m > 1.2) {
          const pane = (along, deep, narrow) => {
            const ax = x - ux * along, ay = y - uy * along, cx = ax - ux * deep, cy = ay - uy * deep;
            glass.moveTo(ax + wx * narrow, ay + wy * narrow); glass.lineTo(cx + wx * 0.82, cy + wy * 0.82);
            glass.lineTo(cx - wx * 0.82, cy - wy * 0.82); glass.lineTo(ax - wx * narrow, ay - wy * narrow); glass.closePath();
          };
          if (size.class === "truck" || size.class === "trailer" || size.class === "delivery") pane(0.35, 0.5, 0.85);
          else { pane(length * 0.26, length * 0.13, 0.66); pane(length * 0.8, length * 0.08, 0.82); }
          if ((at.moved - at.before) / this.step_s ** 2 < BRAKING || speed < 0.05)
            for (const side of [1, -1]) {
              brakes.moveTo(bx + wx * side * 0.72, by + wy * side * 0.72);
              brakes.lineTo(bx + wx * side * 0.35, by + wy * side * 0.35);
            }
        }
      } else {
        path.moveTo(x + wx, y + wy); path.lineTo(bx + wx, by + wy); path.lineTo(bx - wx, by - wy); path.lineTo(x - wx, y - wy);
        path.closePath();
      }
    }
    for (let n = 0; n < buckets.length; n++) {
      to.fillStyle = colours.speed[n];
      to.fill(buckets[n]);
      if (scale > 2.2) { to.strokeStyle = colours.outline; to.lineWidth = 0.9 / scale; to.stroke(buckets[n]); }
    }
    to.lineJoin = "round"; to.lineCap = "butt";
    for (const [bucket, way, breadth] of bent) {
      const path = new Path2D();
      trace(path, way);
      to.strokeStyle = colours.outline; to.lineWidth = breadth + 1.6 / scale; to.stroke(path);
      to.strokeStyle = colours.speed[bucket]; to.lineWidth = breadth; to.stroke(path);
      if (scale > 3) { to.strokeStyle = colours.glass; to.lineWidth = breadth * 0.5; to.setLineDash([2.2, 0.9]); to.stroke(path); to.setLineDash([]); }
    }
    if (detailed) {
      to.fillStyle = colours.glass; to.fill(glass);
      to.strokeStyle = "#ff2d2d"; to.lineWidth = 0.28; to.stroke(brakes);
    }
    this.shown.vehicles = list;
    if (selected.vehicle) this.ringAround(to, selected.vehicle, camera, colours);
  }

  /** The way behind a front bumper, as far as the vehicle is long. */
  along(tracks, point, piece, at, length) {
    const flat = [at.x, at.y];
    let left = length, x = at.x, y = at.y;
    for (let p = point; p >= tracks.begin[piece] && left > 0; p--) {
      const dx = tracks.x[p] - x, dy = tracks.y[p] - y, far = Math.hypot(dx, dy);
      if (far < 0.05) continue;
      const go = Math.min(far, left);
      x += dx / far * go; y += dy / far * go; left -= go;
      flat.push(x, y);
    }
    if (left > 0.1) {
      const first = tracks.begin[piece];
      flat.push(x - tracks.ux[first] * left, y - tracks.uy[first] * left);
    }
    return flat;
  }

  drawPersons(to, moment, camera, window, colours) {
    const tracks = this.replay.personTracks, step = Math.min(Math.floor(moment), this.replay.head.steps - 1);
    const share = clamp(moment - step, 0, 1), at = {}, radius = Math.max(0.38, 1.7 / camera.scale), path = new Path2D();
    this.shown.persons = tracks.start[step + 1] - tracks.start[step];
    if (camera.scale < 0.35) return;
    for (let slot = tracks.start[step]; slot < tracks.start[step + 1]; slot++) {
      Side.between(tracks, tracks.points[slot], tracks.pieces[slot], share, at);
      if (at.x < window.left || at.x > window.right || at.y < window.low || at.y > window.high) continue;
      path.moveTo(at.x + radius, at.y);
      path.arc(at.x, at.y, radius, 0, 7);
    }
    to.fillStyle = colours.person; to.fill(path);
    if (camera.scale > 5) { to.strokeStyle = colours.outline; to.lineWidth = 0.8 / camera.scale; to.stroke(path); }
  }

  /** Bars at the stop lines, one per link in its part of the lane; from near, arrows where it is green. */
  drawHeads(to, step, camera, window, colours) {
    if (camera.scale < 0.9) return;
    const bars = { G: new Path2D(), g: new Path2D(), y: new Path2D(), r: new Path2D(), off: new Path2D() };
    const arrows = new Path2D(), lights = { G: new Path2D(), r: new Path2D() };
    this.scenery.signals.forEach((signal, n) => {
      const { area } = signal;
      if (area.right < window.left || area.left > window.right || area.high < window.low || area.low > window.high) return;
      const state = this.state(n, step);
      for (const head of signal.lanes) {
        const many = head.slots.length;
        head.slots.forEach((index, slot) => {
          const shown = group(state[index]);
          if (head.walk) {
            for (const end of [head.end, head.other]) {
              const radius = Math.max(0.55, 2.2 / camera.scale), path = lights[shown === "G" || shown === "g" ? "G" : "r"];
              path.moveTo(end.x + radius, end.y); path.arc(end.x, end.y, radius, 0, 7);
            }
            return;
          }
          const wide = head.width * 0.94 / many, left = head.width * 0.47 - wide * slot;
          const { ux, uy } = head.end, back = 0.5;
          const x = head.end.x - ux * back, y = head.end.y - uy * back, gap = many > 1 ? 0.06 : 0;
          bars[shown].moveTo(x - uy * (left - gap), y + ux * (left - gap));
          bars[shown].lineTo(x - uy * (left - wide + gap), y + ux * (left - wide + gap));
        });
        if (camera.scale > 3.2 && lengthOf(this.scenery.lanes[head.lane].flat) >= 12)
          for (const link of head.links) if ("gG".includes(state[link.index])) arrow(arrows, head.end, 5.5, link.direction);
      }
    });
    to.lineCap = "butt"; to.setLineDash([]);
    const thick = Math.max(1, 3.2 / camera.scale);
    for (const [kind, colour, breadth, dash] of [
      ["r", colours.r, 1, []], ["off", colours.off, 0.6, []], ["y", colours.y, 1, [0.55, 0.25]], ["g", colours.G, 0.62, [0.9, 0.35]], ["G", colours.G, 1.25, []],
    ]) {
      to.strokeStyle = colour; to.lineWidth = thick * breadth; to.setLineDash(camera.scale > 2 ? dash : []); to.stroke(bars[kind]);
    }
    to.setLineDash([]);
    to.strokeStyle = colours.G; to.lineWidth = 0.34; to.lineCap = "round"; to.stroke(arrows);
    to.fillStyle = colours.r; to.fill(lights.r); to.fillStyle = colours.G; to.fill(lights.G);
    to.strokeStyle = colours.outline; to.lineWidth = 0.7 / camera.scale; to.stroke(lights.r); to.stroke(lights.G);
  }

  /** A sign at each signal: from afar a dot with its phase, and a ring around the chosen one. */
  drawSigns(to, step, camera, window, colours, ratio, selected, width, height) {
    to.setTransform(ratio, 0, 0, ratio, 0, 0);
    const near = camera.scale > 1.3;
    to.font = "600 11px system-ui, sans-serif"; to.textAlign = "center"; to.textBaseline = "middle";
    this.scenery.signals.forEach((signal, n) => {
      const chosen = selected.signal === signal.id;
      if ((near && !chosen) || signal.x < window.left || signal.x > window.right || signal.y < window.low || signal.y > window.high) return;
      const at = camera.toScreen(signal.x, signal.y, width, height), state = this.state(n, step);
      if (near) {
        const reach = Math.max(signal.area.right - signal.area.left, signal.area.high - signal.area.low) / 2 * camera.scale * 1.15 + 6;
        to.beginPath(); to.arc(at.x, at.y, reach, 0, 7);
        to.globalAlpha = 0.6; to.strokeStyle = colours.select; to.lineWidth = 1.2; to.setLineDash([2, 5]); to.stroke(); to.setLineDash([]);
        to.globalAlpha = 1;
        return;
      }
      const radius = clamp(5 + camera.scale * 3, 6, 11);
      const changing = state.includes("y"), greens = [...state].filter(c => "Gg".includes(c)).length;
      to.beginPath(); to.arc(at.x, at.y, radius, 0, 7);
      to.fillStyle = changing ? colours.y : greens ? colours.G : colours.r; to.fill();
      to.lineWidth = chosen ? 3 : 1.5; to.strokeStyle = chosen ? colours.select : colours.land; to.stroke();
      if (radius > 7.5) {
        const phase = this.phaseShown(n, step);
        to.fillStyle = "#10151c"; to.fillText(phase === null ? "" : String(phase), at.x, at.y + 0.5);
      }
    });
  }

  /** The number of the phase whose state is shown; null in a change, or where a program shows another state. */
  phaseShown(signal, step) {
    const { phases } = this.scenery.signals[signal];
    if (!phases) return null;
    const state = this.state(signal, step), n = phases.findIndex(phase => phase.state === state);
    return n < 0 ? null : n;
  }

  /** The way of the chosen vehicle: behind it a full line, before it a dashed one. */
  drawWay(to, id, step, camera, colours) {
    const tracks = this.replay.vehicleTracks, number = this.numberOf.get(id);
    to.lineWidth = Math.max(0.5, 2.5 / camera.scale); to.lineJoin = "round"; to.strokeStyle = colours.select;
    for (const piece of tracks.piecesOf.get(number) || []) {
      for (const ahead of [false, true]) {
        const path = new Path2D(), now = tracks.begin[piece] + step - tracks.first[piece];
        const from = ahead ? Math.max(now, tracks.begin[piece]) : tracks.begin[piece];
        const until = ahead ? tracks.begin[piece + 1] - 1 : Math.min(now, tracks.begin[piece + 1] - 1);
        for (let p = from; p <= until; p++) p === from ? path.moveTo(tracks.x[p], tracks.y[p]) : path.lineTo(tracks.x[p], tracks.y[p]);
        to.globalAlpha = ahead ? 0.45 : 0.3; to.setLineDash(ahead ? [6 / camera.scale, 5 / camera.scale] : []);
        to.stroke(path);
      }
    }
    to.setLineDash([]); to.globalAlpha = 1;
  }
  ringAround(to, id, camera, colours) {
    const at = this.find(id);
    if (!at) return;
    to.beginPath(); to.arc(at.x, at.y, Math.max(4.5, 11 / camera.scale), 0, 7);
    to.strokeStyle = colours.select; to.lineWidth = 2 / camera.scale; to.stroke();
  }

  /** Where a vehicle was drawn last, and how fast it is; null where it is not on the road. */
  find(id) {
    const number = this.numberOf.get(id), list = this.shown.vehicles;
    for (let n = 0; n < list.length; n += 6)
      if (list[n] === number) return { x: list[n + 1], y: list[n + 2], speed: list[n + 3], point: list[n + 4], piece: list[n + 5] };
    return null;
  }
  /** The vehicle drawn nearest to a place, within a reach [m]; its id or null. */
  vehicleAt(x, y, reach) {
    let best = reach, found = null;
    const list = this.shown.vehicles, tracks = this.replay.vehicleTracks;
    for (let n = 0; n < list.length; n += 6) {
      const size = this.sizes[list[n]], p = list[n + 4], back = Math.min(size.length_m, LONG_M) / 2;
      const far = Math.hypot(list[n + 1] - tracks.ux[p] * back - x, list[n + 2] - tracks.uy[p] * back - y) - back;
      if (far < best) { best = far; found = this.replay.vehicles.ids[list[n]]; }
    }
    return found;
  }
}

/** What a character of a state comes to for who looks at it. */
function group(character) {
  if (character === "G" || character === "g") return character;
  if (character === "y" || character === "u") return "y";
  if (character === "o" || character === "O" || character === undefined) return "off";
  return "r";
}
