// The page itself: its clock, its controls, and the loop that paints.
"use strict";

const SPEEDS = [1, 2, 5, 10, 20, 30, 60]; // simulated seconds per second
const PANEL_EVERY_MS = 150;
const SETTLED_MS = 140; // how long a zoom must rest before the roads are painted anew

class Page {
  constructor(replays) {
    this.head = replays[0].head;
    this.scenery = new Scenery(replays[0].network);
    this.names = replays.map(replay => replay.head.controller.name);
    if (this.names.length > 1 && this.names[0] === this.names[1])
      this.names = replays.map((replay, n) => `${this.names[n]}, seed ${replay.head.seed}`);
    this.sides = replays.map((replay, n) => this.makeSide(replay, n));
    this.camera = new Camera(this.scenery.bounds);
    this.step_s = this.head.timing.sim_step_s;
    this.moment = 0; // [steps] which step is shown, with its fraction
    this.playing = false;
    this.speed = 10;
    this.selected = { signal: null, vehicle: null };
    this.following = false;
    this.panel = null;
    this.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    this.dirty = true;
    this.moved = -Infinity;
    this.frames = [];
    this.timeline = new Timeline($("timeline"), this.sides, share => this.seek(share * this.head.steps));
    this.describe();
    this.wire();
    this.arrange();
    this.showSignals();
    this.fromLink();
    this.setTheme(this.theme);
    $("loading").remove();
    requestAnimationFrame(now => this.frame(now));
  }
  get step() { return Math.min(Math.floor(this.moment), this.head.steps - 1); }
  get time_s() { return this.head.scenario.begin_s + this.moment * this.step_s; }

  makeSide(replay, n) {
    const figures = element("span", { class: "figures" }), two = document.querySelectorAll("script.replay").length > 1;
    const section = element("section", { class: `view ${"ab"[n]}` }, element("canvas", { tabindex: 0, role: "img", "aria-label": `Traffic under ${this.names[n]}` }),
      element("div", { class: "badge" }, element("strong", { "data-side": two ? "AB"[n] : "", text: this.names[n] }), figures));
    $("legend").before(section);
    const side = new Side(replay, n ? new Scenery(replay.network) : this.scenery, section);
    side.figures = figures;
    return side;
  }
  describe() {
    const { scenario, seed, versions } = this.head;
    $("name").textContent = scenario.name;
    $("about").textContent = `${clock(scenario.begin_s).slice(0, 5)} to ${clock(scenario.end_s).slice(0, 5)}, ${scenario.demand} demand, seed ${seed}`;
    $("source").textContent = `Recorded from SUMO ${versions.libsumo} with intergreen ${versions.intergreen || ""}; the whole recordings are inside of this page.`;
    for (const speed of SPEEDS) $("speed").append(element("option", { value: speed, text: `${speed}×` }));
    this.setSpeed(this.speed);
  }
  legend() {
    const colours = PALETTES[this.theme];
    $("legend").replaceChildren("standing", ...colours.speed.map(colour => element("i", { style: `background:${colour}` })), "50 km/h",
      ...(this.sides[0].replay.persons.ids.length ? [element("i", { class: "dot", style: `background:${colours.person}` }), "on foot"] : []));
  }

  // time
  seek(moment) { this.moment = clamp(moment, 0, this.head.steps - 0.001); this.dirty = true; this.toLink(); }
  seekTime(time_s) { this.seek((time_s - this.head.scenario.begin_s) / this.step_s); }
  play(on = !this.playing) {
    if (on && this.moment >= this.head.steps - 1.01) this.moment = 0;
    this.playing = on;
    $("play").classList.toggle("on", on);
    $("play").setAttribute("aria-label", on ? "Pause" : "Play");
    this.last = null;
    if (!on) this.toLink();
  }
  setSpeed(speed) { this.speed = speed; $("speed").value = String(speed); }
  faster(by) { this.setSpeed(SPEEDS[clamp(SPEEDS.indexOf(this.speed) + by, 0, SPEEDS.length - 1)]); }

  frame(now) {
    if (this.playing) {
      const passed = this.last === null ? 0 : Math.min((now - this.last) / 1000, 0.25);
      this.last = now;
      this.moment += passed * this.speed / this.step_s;
      if (this.moment >= this.head.steps - 1) { this.moment = this.head.steps - 1; this.play(false); }
      this.dirty = true;
      this.frames.push(now);
      while (this.frames[0] < now - 2000) this.frames.shift();
    }
    const settling = now - this.moved < SETTLED_MS;
    if (this.wasMoving && !settling) this.dirty = true;
    this.wasMoving = settling;
    if (this.dirty || this.timeline.hover !== this.hovered) { this.dirty = false; this.hovered = this.timeline.hover; this.paint(now, settling); }
    requestAnimationFrame(next => this.frame(next));
  }
  paint(now, moving) {
    const ratio = Math.min(devicePixelRatio || 1, 2);
    if (this.following && this.selected.vehicle) {
      const at = this.sides.map(side => side.find(this.selected.vehicle)).find(Boolean);
      if (at) { this.camera.x = at.x; this.camera.y = at.y; }
    }
    for (const side of this.sides) side.draw(this.camera, this.moment, this.theme, ratio, moving, this.selected);
    this.timeline.draw(this.moment, this.theme, ratio);
    $("time").textContent = clock(this.time_s);
    $("timeline").setAttribute("aria-valuenow", String(Math.round(this.time_s)));
    $("timeline").setAttribute("aria-valuetext", clock(this.time_s));
    if (this.step !== this.told) { this.told = this.step; this.tell(); }
    if (this.panel && (!this.playing || now - (this.panelAt || 0) > PANEL_EVERY_MS)) { this.panelAt = now; this.panel.update(this.moment, this.theme); }
  }
  /** The figures of this moment, in words. */
  tell() {
    const step = this.step;
    for (const side of this.sides) {
      const of = side.replay.curves, mean = of.planned_veh[step] ? of.delay_s[step] / of.planned_veh[step] : 0;
      const parts = [["queue", number(of.queue_veh[step])], ["on the road", number(of.running_veh[step])], ["arrived", number(of.arrived_veh[step])], ["delay", `${number(mean, 1)} s`]];
      if (of.waiting_veh[step] > 0) parts.splice(2, 0, ["waiting to enter", number(of.waiting_veh[step])]);
      side.figures.replaceChildren(...parts.map(([name, value]) => element("span", {}, `${name} `, element("b", { text: value, "data-figure": name }))));
    }
    if (this.sides.length > 1) {
      const [a, b] = this.sides.map(side => Timeline.delay(side, step)), change = b - a;
      const word = change < 0 ? "saves" : "costs", share = a > 0 ? ` (${signed(change / a * 100)} %)` : "";
      $("verdict").replaceChildren(...(Math.abs(change) < 0.05 ? ["A and B: no difference in delay so far"] :
        ["B ", element("b", { class: change < 0 ? "good" : "bad", text: `${word} ${number(Math.abs(change), 1)} vehicle-hours` }), ` of delay so far${share}`]));
    }
  }

  // what is chosen
  openPanel(title, ...content) {
    const close = element("button", { "aria-label": "Close", text: "✕" });
    close.addEventListener("click", () => this.select({}));
    $("panel").replaceChildren(element("h2", {}, title, close), ...content);
    $("panel").hidden = false;
    $("panel").tabIndex = -1;
  }
  select({ signal = null, vehicle = null }) {
    this.selected = { signal, vehicle };
    this.following = this.following && vehicle !== null;
    this.panel = signal !== null ? new SignalPanel(this, signal) : vehicle !== null ? new VehiclePanel(this, vehicle) : null;
    if (!this.panel) { $("panel").hidden = true; $("panel").replaceChildren(); }
    this.dirty = true;
    this.toLink();
  }
  nextSignal(by) {
    const { signals } = this.scenery, now = signals.findIndex(signal => signal.id === this.selected.signal);
    const next = signals[(now + by + signals.length) % signals.length];
    this.select({ signal: next.id });
    this.showSignal(next);
  }
  showSignal(signal) {
    const { clientWidth: width, clientHeight: height } = this.sides[0].canvas;
    const { left, right, low, high } = signal.area;
    this.camera.fit(width, height, { left: left - 45, right: right + 45, low: low - 45, high: high + 45 });
    this.camera.scale = clamp(this.camera.scale, 1, 9);
    this.dirty = true;
  }
  pick(side, px, py, choose) {
    const { clientWidth: width, clientHeight: height } = side.canvas, { x, y } = this.camera.toWorld(px, py, width, height);
    const vehicle = this.camera.scale > 0.6 ? side.vehicleAt(x, y, 5 / this.camera.scale) : null;
    let signal = null, best = 15 / this.camera.scale;
    if (!vehicle)
      for (const of of this.scenery.signals) {
        const { area } = of, inside = x > area.left && x < area.right && y > area.low && y < area.high;
        const far = Math.hypot(of.x - x, of.y - y) - (inside ? 1e6 : 0);
        if (far < best) { best = far; signal = of.id; }
      }
    if (choose) this.select({ vehicle, signal });
    return vehicle || signal;
  }

  // the view
  /** Side by side or, where the network is much wider than high, one above the other. */
  arrange() {
    const { left, right, low, high } = this.signalArea();
    $("views").classList.toggle("stacked", this.sides.length > 1 && (right - left) / (high - low) > 1.8);
  }
  signalArea() {
    const area = { left: Infinity, right: -Infinity, low: Infinity, high: -Infinity };
    for (const signal of this.scenery.signals) { this.scenery.widen(area, signal.area.left, signal.area.low, 60); this.scenery.widen(area, signal.area.right, signal.area.high, 60); }
    return area.left < area.right ? area : this.scenery.bounds;
  }
  /** All signals with their surroundings: where it happens. */
  showSignals() {
    const { clientWidth: width, clientHeight: height } = this.sides[0].canvas;
    this.camera.fit(width, height, this.signalArea());
  }
  fit() {
    const { clientWidth: width, clientHeight: height } = this.sides[0].canvas;
    this.camera.fit(width, height, this.scenery.bounds);
    this.following = false;
    this.dirty = true;
    this.toLink();
  }
  setTheme(theme) {
    this.theme = theme;
    document.documentElement.dataset.theme = theme;
    this.legend();
    this.dirty = true;
  }

  // links: #t=27000&x=…&y=…&zoom=…&speed=…&signal=…&vehicle=…
  link() {
    const parts = [`t=${Math.round(this.time_s * 10) / 10}`, `x=${this.camera.x.toFixed(0)}`, `y=${this.camera.y.toFixed(0)}`, `zoom=${this.camera.scale.toPrecision(3)}`, `speed=${this.speed}`];
    for (const what of ["signal", "vehicle"]) if (this.selected[what] !== null) parts.push(`${what}=${encodeURIComponent(this.selected[what])}`);
    return `#${parts.join("&")}`;
  }
  toLink() {
    clearTimeout(this.linking);
    this.linking = setTimeout(() => {
      this.written = this.link();
      try { history.replaceState(null, "", this.written); } catch { /* a frame that may not */ }
    }, 250);
  }
  fromLink() {
    if (location.hash === this.written || location.hash.length < 2) return;
    const of = new URLSearchParams(location.hash.slice(1)), real = name => (of.has(name) ? Number(of.get(name)) : NaN);
    const t = of.get("t") || "", parts = t.split(":").map(Number);
    const time_s = parts.length > 1 ? parts.reduce((sum, part) => sum * 60 + part, 0) * 60 ** (3 - parts.length) : Number(t || NaN);
    if (Number.isFinite(time_s)) this.seekTime(time_s);
    if (SPEEDS.includes(real("speed"))) this.setSpeed(real("speed"));
    const signal = of.get("signal"), vehicle = of.get("vehicle");
    if (signal !== null && this.sides[0].signalOf.has(signal)) {
      this.select({ signal });
      this.showSignal(this.scenery.signals[this.sides[0].signalOf.get(signal)]);
    } else if (vehicle !== null && this.sides.some(side => side.tripOf.has(vehicle))) this.select({ vehicle });
    if (Number.isFinite(real("x")) && Number.isFinite(real("y"))) { this.camera.x = real("x"); this.camera.y = real("y"); this.camera.keepIn(); }
    if (real("zoom") > 0) this.camera.scale = clamp(real("zoom"), 0.02, 60);
    if (["light", "dark"].includes(of.get("theme"))) this.theme = of.get("theme");
    this.dirty = true;
  }
  async copy() {
    const text = location.href.split("#")[0] + this.link();
    try { await navigator.clipboard.writeText(text); this.toast("Link to this moment copied"); }
    catch { location.hash = this.link(); this.toast("The link is in the address line"); }
  }
  toast(text) {
    $("toast").textContent = text;
    $("toast").classList.add("on");
    setTimeout(() => $("toast").classList.remove("on"), 1600);
  }

  // hands and keys
  wire() {
    const click = (id, act) => $(id).addEventListener("click", act);
    click("play", () => this.play());
    click("back", () => this.seek(this.moment - 10 / this.step_s));
    click("ahead", () => this.seek(this.moment + 10 / this.step_s));
    click("fit", () => this.fit());
    click("copy", () => this.copy());
    click("theme", () => this.setTheme(this.theme === "dark" ? "light" : "dark"));
    click("ask", () => $("help").showModal());
    $("speed").addEventListener("change", event => this.setSpeed(Number(event.target.value)));
    addEventListener("keydown", event => this.key(event));
    addEventListener("hashchange", () => this.fromLink());
    addEventListener("resize", () => { this.dirty = true; });
    new ResizeObserver(() => { this.dirty = true; }).observe($("views"));
    for (const side of this.sides) this.wireView(side);
  }
  wireView(side) {
    const { canvas } = side, fingers = new Map();
    let travelled = 0;
    const place = event => { const box = canvas.getBoundingClientRect(); return { x: event.clientX - box.left, y: event.clientY - box.top }; };
    const changed = () => { this.dirty = true; this.moved = performance.now(); this.toLink(); };
    canvas.addEventListener("pointerdown", event => { canvas.setPointerCapture(event.pointerId); fingers.set(event.pointerId, place(event)); travelled = fingers.size > 1 ? 99 : 0; });
    canvas.addEventListener("pointermove", event => {
      const now = place(event), was = fingers.get(event.pointerId);
      if (!was) { canvas.classList.toggle("pointing", Boolean(this.pick(side, now.x, now.y, false))); return; }
      fingers.set(event.pointerId, now);
      travelled += Math.hypot(now.x - was.x, now.y - was.y);
      if (travelled < 4) return;
      canvas.classList.add("grabbing");
      this.following = false;
      if (fingers.size === 1) this.camera.pan(now.x - was.x, now.y - was.y);
      else {
        const [other] = [...fingers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
        const before = Math.hypot(was.x - other.x, was.y - other.y), after = Math.hypot(now.x - other.x, now.y - other.y);
        this.camera.pan((now.x - was.x) / 2, (now.y - was.y) / 2);
        if (before > 0) this.camera.zoom(after / before, (now.x + other.x) / 2, (now.y + other.y) / 2, canvas.clientWidth, canvas.clientHeight);
      }
      changed();
    });
    const up = event => {
      if (event.type === "pointerup" && fingers.has(event.pointerId) && travelled < 4) { const { x, y } = place(event); this.pick(side, x, y, true); }
      fingers.delete(event.pointerId);
      canvas.classList.remove("grabbing");
    };
    canvas.addEventListener("pointerup", up);
    canvas.addEventListener("pointercancel", up);
    canvas.addEventListener("wheel", event => {
      event.preventDefault();
      const { x, y } = place(event), pixels = event.deltaY * (event.deltaMode ? 30 : 1);
      this.camera.zoom(2 ** clamp(-pixels / 240, -1, 1), x, y, canvas.clientWidth, canvas.clientHeight);
      changed();
    }, { passive: false });
    canvas.addEventListener("dblclick", event => { const { x, y } = place(event); this.camera.zoom(2, x, y, canvas.clientWidth, canvas.clientHeight); changed(); });
  }
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
    if (event.target instanceof HTMLSelectElement && event.key.startsWith("Arrow")) return;
    const { clientWidth: width, clientHeight: height } = this.sides[0].canvas;
    const hop = (event.shiftKey ? 60 : 10) / this.step_s, zoom = by => { this.camera.zoom(by, width / 2, height / 2, width, height); this.moved = performance.now(); this.dirty = true; };
    const acts = {
      " ": () => this.play(), arrowleft: () => this.seek(this.moment - hop), arrowright: () => this.seek(this.moment + hop),
      arrowup: () => this.faster(1), arrowdown: () => this.faster(-1), home: () => this.seek(0), end: () => this.seek(this.head.steps),
      ",": () => this.seek(Math.ceil(this.moment) - 1), ".": () => this.seek(Math.floor(this.moment) + 1),
      "+": () => zoom(1.4), "=": () => zoom(1.4), "-": () => zoom(1 / 1.4), 0: () => this.fit(),
      n: () => this.nextSignal(1), p: () => this.nextSignal(-1), f: () => { this.following = !this.following && this.selected.vehicle !== null; this.dirty = true; },
      c: () => this.copy(), t: () => this.setTheme(this.theme === "dark" ? "light" : "dark"), h: () => $("help").showModal(), "?": () => $("help").showModal(), escape: () => this.select({}),
    };
    const act = acts[event.key.toLowerCase()];
    if (!act || (event.key === " " && event.target instanceof HTMLButtonElement)) return;
    event.preventDefault();
    act();
  }

  /** What is painted at this moment: for tests, and for whoever is curious. */
  shown() {
    return this.sides.map(side => {
      const list = side.shown.vehicles, vehicles = {};
      for (let n = 0; n < list.length; n += 6) vehicles[side.replay.vehicles.ids[list[n]]] = [list[n + 1], list[n + 2]];
      const states = Object.fromEntries(this.scenery.signals.map((signal, n) => [signal.id, side.state(n, this.step)]));
      return { step: this.step, time_s: this.time_s, vehicles, persons: side.shown.persons, states };
    });
  }
  /** Frames a second over the last two seconds of playing. */
  fps() { const { frames } = this; return frames.length < 2 ? 0 : (frames.length - 1) / (frames[frames.length - 1] - frames[0]) * 1000; }
}

(async () => {
  try {
    if (typeof DecompressionStream === "undefined") throw new Error("this browser is too old to unpack it: use one from 2023 or later");
    const bytes = [...document.querySelectorAll("script.replay")].map(script => { const data = fromBase64(script.textContent); script.textContent = ""; return data; });
    window.intergreen = new Page(await Promise.all(bytes.map(readReplay)));
  } catch (error) {
    $("loading").textContent = `This page cannot be shown: ${error.message}`;
    throw error;
  }
})();
