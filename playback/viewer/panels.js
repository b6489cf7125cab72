// What is told of a signal or a vehicle that was clicked.
"use strict";

const NEVER = -1e8; // what a policy says of a phase that it may not choose
const RANGE_S = [-90, 30]; // what the strip below the phases shows, around now

/** A small picture of the ways that a state lets go. */
function phaseIcon(scenery, signal, state) {
  const points = [], ways = [];
  for (const link of signal.links) {
    const head = signal.lanes.find(lane => lane.lane === link.lane);
    if (link.direction === "w") { ways.push({ link, walk: true, from: head.end, to: head.other }); points.push(head.end, head.other); continue; }
    if (link.to < 0) continue;
    const to = endOf(scenery.lanes[link.to].flat, true);
    ways.push({ link, from: head.end, to });
    points.push(head.end, to);
  }
  const xs = points.map(p => p.x), ys = points.map(p => p.y);
  const left = Math.min(...xs), low = Math.min(...ys), size = Math.max(Math.max(...xs) - left, Math.max(...ys) - low, 1);
  const px = x => (4 + (x - left + (size - (Math.max(...xs) - left)) / 2) / size * 32).toFixed(1);
  const py = y => (36 - (y - low + (size - (Math.max(...ys) - low)) / 2) / size * 32).toFixed(1);
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 40 40");
  svg.setAttribute("aria-hidden", "true");
  const rank = way => "rgG".indexOf(group(state[way.link.index]));
  for (const way of ways.sort((a, b) => rank(a) - rank(b))) {
    const { from, to, link } = way, shown = group(state[link.index]), go = shown === "G" || shown === "g";
    const reach = Math.hypot(to.x - from.x, to.y - from.y) * 0.45;
    const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
    line.setAttribute("d", way.walk ? `M${px(from.x)} ${py(from.y)}L${px(to.x)} ${py(to.y)}` :
      `M${px(from.x)} ${py(from.y)}C${px(from.x + from.ux * reach)} ${py(from.y + from.uy * reach)} ${px(to.x + to.ux * reach)} ${py(to.y + to.uy * reach)} ${px(to.x)} ${py(to.y)}`);
    line.setAttribute("style", `fill:none;stroke-linecap:round;stroke:${go ? (way.walk ? "#8e6fc4" : "var(--green)") : "var(--line)"};stroke-width:${go ? (shown === "G" ? 2.6 : 1.8) : 1.1};${way.walk || (go && shown === "g") ? "stroke-dasharray:2.5 2.6" : ""}`);
    svg.append(line);
  }
  return svg;
}

/** The rows of a timing strip: one per approach and direction, one per crossing. */
function movements(signal) {
  const rows = new Map(), glyphs = { s: "↑", l: "↰", L: "↖", r: "↱", R: "↗", t: "↶", w: "walk" };
  for (const link of signal.links) {
    const key = `${link.edge || link.lane} ${link.direction}`;
    if (!rows.has(key)) rows.set(key, { glyph: glyphs[link.direction] || link.direction, edge: link.edge || "", links: [] });
    rows.get(key).links.push(link.index);
  }
  return [...rows.values()];
}

class SignalPanel {
  constructor(page, id) {
    this.page = page;
    this.id = id;
    this.key = "";
    const several = page.sides.length > 1;
    this.blocks = page.sides.map((side, n) => {
      const body = element("div");
      const heading = several ? element("h3", {}, element("em", { text: "AB"[n] }), page.names[n]) : element("h3", { text: page.names[n] });
      return { side, body, root: element("section", { class: "ab"[n] }, heading, body) };
    });
    const signal = page.scenery.signals[this.number];
    this.rows = movements(signal);
    page.openPanel(`Signal ${id}`, ...this.blocks.map(block => block.root));
    if (signal.reason) $("panel").append(element("p", { text: `Left to its own program: ${signal.reason}.` }));
  }
  get number() { return this.page.sides[0].signalOf.get(this.id); }

  update(moment, theme) {
    const step = Math.floor(moment), key = `${step} ${theme} ${$("panel").clientWidth}`;
    if (key === this.key) return;
    this.key = key;
    for (const block of this.blocks) {
      const from = document.activeElement;
      block.body.replaceChildren(...this.content(block.side, step, theme));
      if (from && !document.contains(from)) $("panel").focus();
    }
  }
  content(side, step, theme) {
    const signal = side.scenery.signals[this.number], state = side.state(this.number, step);
    if (!state) return [element("p", { text: "SUMO shows no states for it." })];
    const [from, until] = side.interval(this.number, step), phase = side.phaseShown(this.number, step);
    const since = (step - from + 1) * side.step_s, left = (until - step - 1) * side.step_s;
    const yellow = state.includes("y"), green = /[gG]/.test(state);
    const what = phase !== null ? `phase ${phase}` : yellow ? "change: yellow" : green ? "green of its program" : "change: all red";
    const lamp = element("span", { class: `lamp ${yellow ? "y" : green ? "G" : "r"}`, text: phase !== null ? phase : yellow ? "Y" : green ? "G" : "R" });
    const bounds = phase === null ? null : signal.phases[phase];
    const parts = [element("div", { class: "now" }, lamp, element("div", {}, `${what} for ${number(since)} s`, element("div", { text: `${number(left)} s to go${bounds ? `, min ${number(bounds.min)}, max ${number(bounds.max)} s` : ""}` })))];
    if (bounds) {
      const most = Math.max(bounds.max, since);
      parts.push(element("div", { class: "gauge" }, element("i", { style: `width:${clamp(since / most * 100, 0, 100)}%` }), element("u", { style: `left:${bounds.min / most * 100}%` })));
    }
    const row = side.replay.head.signals.indexOf(this.id);
    parts.push(...(row >= 0 ? this.decision(side, row, signal, step) : this.program(side, signal)));
    parts.push(this.strip(side, signal, step, theme));
    return parts;
  }
  /** The last decision: per phase what was seen, what it was worth, and which was chosen. */
  decision(side, s, signal, step) {
    const of = side.replay.decisions, head = side.replay.head;
    const d = Math.min(Math.floor(step * side.step_s / head.timing.decision_interval_s + 1e-9), of.wanted.shape[0] - 1);
    const at = head.scenario.begin_s + d * head.timing.decision_interval_s;
    const wanted = of.wanted.at(d, s), shown = of.shown.at(d, s), before = of.phase.at(d, s);
    const scored = of.scores && signal.phases.some((_, p) => Number.isFinite(of.scores.at(d, s, p)));
    const values = signal.phases.map((_, p) => (of.mask.at(d, s, p) && scored ? of.scores.at(d, s, p) : NaN)).filter(Number.isFinite);
    const high = Math.max(...values), low = Math.min(...values, high > 0 ? 0 : Infinity);
    const table = element("table", { class: "phases" });
    const titles = ["", "phase", "seen", "queue", ...(scored ? ["value"] : [])];
    table.append(element("tr", {}, ...titles.map(text => element("th", { text, title: { seen: "vehicles as its sensors show them", queue: "of all on its approaches, those that stand", value: "what the controller thought of it: greater is better" }[text] }))));
    signal.phases.forEach((phase, p) => {
      const open = of.mask.at(d, s, p), value = scored ? of.scores.at(d, s, p) : NaN;
      const cells = [element("td", {}, phaseIcon(side.scenery, signal, phase.state)), element("td", { title: phase.name }, element("span", { class: "nr", text: p })), element("td", { text: number(of.seen_veh.at(d, s, p)) }), element("td", { text: number(of.queue_veh.at(d, s, p)) })];
      if (!open) cells[1].append(element("small", { text: " locked", title: "may not be chosen now: min green, a change that is on, or a clearance" }));
      if (scored) cells.push(element("td", {}, element("div", { class: "score" }, ...(open ? [element("i", { style: `width:${high > low ? Math.max((value - low) / (high - low) * 100, 0) : 100}%` })] : []), element("span", { text: value > NEVER ? short(value) : "–" }))));
      table.append(element("tr", { class: `${p === shown ? "chosen" : ""} ${open ? "" : "barred"}` }, ...cells));
    });
    const stay = shown === before ? "stays with" : "goes to";
    const forced = wanted !== shown ? `; it asked for phase ${wanted}, which is locked` : "";
    const changing = of.changing.at(d, s) ? " while a change is on" : "";
    return [table, element("p", {}, "At ", element("b", { text: clock(at) }), ` it ${stay} `, element("b", { text: `phase ${shown}` }), `${changing}${forced}.`)];
  }
  /** What a program shows: its greens and their share of the time. */
  program(side, signal) {
    const of = side.states[this.number], total = side.replay.head.steps, share = new Map(), times = new Map();
    for (let n = 0; n < of.from.length; n++) {
      const until = n + 1 < of.from.length ? of.from[n + 1] : total, state = of.states[of.state[n]];
      share.set(state, (share.get(state) || 0) + until - of.from[n]);
      times.set(state, (times.get(state) || 0) + 1);
    }
    const used = [...new Set(signal.links.map(link => link.index))];
    const greens = [...share].filter(([state]) => used.some(n => /[gG]/.test(state[n])) && !/y/.test(state)).sort((a, b) => b[1] - a[1]).slice(0, 8);
    const table = element("table", { class: "phases" }, element("tr", {}, ...["", "green", "mean", "share"].map(text => element("th", { text }))));
    const now = side.state(this.number, this.page.step);
    for (const [state, steps] of greens)
      table.append(element("tr", { class: state === now ? "chosen" : "" }, element("td", {}, phaseIcon(side.scenery, signal, state)), element("td", { class: "states", text: state.length > 22 ? `${state.slice(0, 22)}…` : state, title: state }), element("td", { text: `${number(steps / times.get(state) * side.step_s, 1)} s` }), element("td", { text: `${number(steps / total * 100)} %` })));
    return [table, element("p", { text: "It runs a program of SUMO's; nothing is decided here." })];
  }
  /** A timing diagram around now: thick is green, medium yellow, thin red. */
  strip(side, signal, step, theme) {
    const canvas = element("canvas", { class: "strip" }), each = 12, ratio = Math.min(devicePixelRatio || 1, 2), names = 64;
    const width = Math.max($("panel").clientWidth - 30, 200), height = this.rows.length * each + 20;
    canvas.width = width * ratio; canvas.height = height * ratio; canvas.style.height = `${height}px`;
    const to = canvas.getContext("2d"), colours = PALETTES[theme], of = side.states[this.number];
    to.scale(ratio, ratio);
    const [first, last] = RANGE_S.map(s => step + s / side.step_s), x = s => names + (s - first) / (last - first) * (width - names);
    to.font = "10px system-ui, sans-serif"; to.textBaseline = "middle";
    this.rows.forEach((row, n) => {
      const y = n * each + each / 2, index = row.links[0];
      to.fillStyle = colours.ink; to.globalAlpha = 0.75; to.textAlign = "left";
      const name = row.glyph === "walk" ? "walk" : `${row.glyph} ${row.edge}`;
      to.fillText(name.length > 10 ? `${name.slice(0, 9)}…` : name, 0, y); to.globalAlpha = 1;
      for (let k = lastAtMost(of.from, Math.max(first, 0)); k < of.from.length && of.from[k] < last; k++) {
        const from = Math.max(of.from[k], first, 0), until = Math.min(k + 1 < of.from.length ? of.from[k + 1] : side.replay.head.steps, last);
        if (until <= from) continue;
        const shown = group(of.states[of.state[k]][index]), thick = { G: 8, g: 5, y: 5, r: 1.5, off: 1 }[shown];
        to.fillStyle = shown === "g" ? colours.G : colours[shown];
        to.globalAlpha = from > step ? 0.45 : 1;
        to.fillRect(x(from), y - thick / 2, Math.max(x(until) - x(from), 0.5), thick);
      }
      to.globalAlpha = 1;
    });
    to.strokeStyle = colours.ink; to.lineWidth = 1; to.beginPath(); to.moveTo(x(step) + 0.5, 0); to.lineTo(x(step) + 0.5, height - 16); to.stroke();
    to.fillStyle = colours.ink; to.globalAlpha = 0.7; to.textAlign = "center";
    for (const [s, text] of [[RANGE_S[0] + 8, `${-RANGE_S[0]} s ago`], [0, "now"], [RANGE_S[1] - 9, `+${RANGE_S[1]} s`]]) to.fillText(text, x(step + s / side.step_s), height - 7);
    return canvas;
  }
}

class VehiclePanel {
  constructor(page, id) {
    this.page = page;
    this.id = id;
    this.key = "";
    this.body = element("div");
    page.openPanel(`Vehicle ${id}`, this.body);
  }
  update(moment) {
    const step = Math.floor(moment), key = String(step);
    if (key === this.key) return;
    this.key = key;
    const { sides, names } = this.page;
    const head = sides[0].replay.head, now = head.scenario.begin_s + (step + 1) * sides[0].step_s;
    const trips = sides.map(side => {
      const n = side.tripOf.get(this.id), { trips: columns } = side.replay.vehicles;
      return n === undefined ? null : Object.fromEntries(Object.entries(columns).map(([name, column]) => [name, column[n]]));
    });
    const type = trips.find(Boolean) ? sides[0].replay.vehicles.types[(trips[0] || trips[1]).type] : null;
    const several = sides.length > 1;
    const table = element("table", { class: "trip" });
    const row = (name, cell) => table.append(element("tr", {}, element("td", { text: name }), ...sides.map((side, n) => element("td", { text: trips[n] ? cell(trips[n], side, n) : "–" }))));
    if (several) table.append(element("tr", {}, element("th"), ...names.map((name, n) => element("th", { text: `${"AB"[n]} ${name}` }))));
    row("now", (trip, side) => {
      const at = side.find(this.id);
      if (at) return at.speed < 0.05 ? "standing" : `${number(at.speed * 3.6)} km/h`;
      if (trip.arrival_s !== null && trip.arrival_s <= now) return "arrived";
      return trip.planned_s >= now ? "not yet planned" : trip.depart_s === null || trip.depart_s >= now ? "waits to enter" : "–";
    });
    row("standing so far", (trip, side) => `${number(this.stood(side, step))} s`);
    row("was to depart", trip => clock(trip.planned_s));
    row("waited to enter", trip => `${number(trip.depart_delay_s)} s`);
    row("arrives", trip => (trip.arrival_s === null ? "not in time" : clock(trip.arrival_s)));
    row("standing in all", trip => `${number(trip.waiting_time_s)} s`);
    row("stops in all", trip => number(trip.stops));
    row("distance", trip => `${number(trip.distance_m)} m`);
    row("delay in all", trip => `${number(trip.delay_s, 1)} s`);
    const parts = [element("p", { text: type ? `${type.class}, ${number(type.length_m, 1)} m; type ${type.id}` : "not planned in this window" }), table];
    if (several && trips[0] && trips[1]) {
      const change = trips[1].delay_s - trips[0].delay_s;
      parts.push(element("p", {}, "With B it loses ", element("b", { text: `${number(Math.abs(change), 1)} s ${change > 0 ? "more" : "less"}` }), " than with A."));
    }
    parts.push(element("p", { text: this.page.following ? "The view follows it (F)." : "F follows it." }));
    this.body.replaceChildren(...parts);
  }
  /** How long it has not moved on its way up to a step [s]. */
  stood(side, step) {
    const tracks = side.replay.vehicleTracks;
    let still = 0;
    for (const piece of tracks.piecesOf.get(side.numberOf.get(this.id)) || [])
      for (let p = tracks.begin[piece] + 1; p < tracks.begin[piece + 1] && tracks.first[piece] + p - tracks.begin[piece] <= step; p++)
        if (Math.hypot(tracks.x[p] - tracks.x[p - 1], tracks.y[p] - tracks.y[p - 1]) < 0.05) still++;
    return still * side.step_s;
  }
}
