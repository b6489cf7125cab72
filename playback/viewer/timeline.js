// The curves below the pictures: queue, and delay or its difference, with a cursor to drag.
"use strict";

const SIDE_COLOURS = { light: ["#0067b1", "#c25e00"], dark: ["#5db7ff", "#ffab4a"] };

class Timeline {
  constructor(canvas, sides, onSeek) {
    this.canvas = canvas;
    this.sides = sides;
    this.head = sides[0].replay.head;
    this.hover = null;
    this.key = "";
    this.layer = document.createElement("canvas");
    const seek = event => {
      const box = canvas.getBoundingClientRect();
      onSeek(clamp((event.clientX - box.left - this.left) / Math.max(box.width - this.left - this.right, 1), 0, 1));
    };
    canvas.addEventListener("pointerdown", event => { canvas.setPointerCapture(event.pointerId); this.dragging = true; seek(event); });
    canvas.addEventListener("pointermove", event => {
      const box = canvas.getBoundingClientRect();
      this.hover = event.pointerType === "touch" ? null : event.clientX - box.left;
      if (this.dragging) seek(event);
    });
    canvas.addEventListener("pointerup", () => { this.dragging = false; });
    canvas.addEventListener("pointercancel", () => { this.dragging = false; });
    canvas.addEventListener("pointerleave", () => { this.hover = null; });
    this.left = 46;
    this.right = 14;
  }
  get steps() { return this.head.steps; }

  /** Delay summed over all up to the end of a step [vehicle-hours]. */
  static delay(side, step) { return side.replay.curves.delay_s[clamp(step, 0, side.replay.head.steps - 1)] / 3600; }

  draw(moment, theme, ratio, selection) {
    const width = this.canvas.clientWidth, height = this.canvas.clientHeight;
    if (!width || !height) return;
    const key = [width, height, theme, ratio].join();
    if (key !== this.key) { this.paint(width, height, theme, ratio); this.key = key; }
    const to = this.canvas.getContext("2d");
    to.setTransform(1, 0, 0, 1, 0, 0);
    to.clearRect(0, 0, this.canvas.width, this.canvas.height);
    to.drawImage(this.layer, 0, 0);
    to.setTransform(ratio, 0, 0, ratio, 0, 0);
    const ink = PALETTES[theme].ink, colours = SIDE_COLOURS[theme];
    const x = this.x(moment, width), step = Math.min(Math.floor(moment), this.steps - 1);
    to.fillStyle = theme === "dark" ? "rgba(16,21,28,.45)" : "rgba(255,255,255,.5)";
    to.fillRect(x, this.plots[0].top, width - this.right - x, this.plots[this.plots.length - 1].bottom - this.plots[0].top);
    to.strokeStyle = ink; to.lineWidth = 1.5;
    to.beginPath(); to.moveTo(x, this.plots[0].top - 2); to.lineTo(x, height - 15); to.stroke();
    to.fillStyle = ink; to.beginPath(); to.moveTo(x - 5, height - 16); to.lineTo(x + 5, height - 16); to.lineTo(x, height - 23); to.fill();
    for (const plot of this.plots)
      plot.lines.forEach((line, n) => {
        to.beginPath(); to.arc(x, plot.y(line[step]), 3.5, 0, 7);
        to.fillStyle = colours[n]; to.fill(); to.strokeStyle = PALETTES[theme].land; to.lineWidth = 1; to.stroke();
      });
    if (this.hover !== null && !this.dragging) this.tip(to, width, height, theme);
  }
  x(moment, width) { return this.left + moment / this.steps * (width - this.left - this.right); }

  paint(width, height, theme, ratio) {
    for (const canvas of [this.canvas, this.layer]) { canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio); }
    const to = this.layer.getContext("2d"), colours = SIDE_COLOURS[theme], ink = PALETTES[theme].ink;
    to.setTransform(ratio, 0, 0, ratio, 0, 0);
    to.clearRect(0, 0, width, height);
    to.font = "10.5px system-ui, sans-serif"; to.textBaseline = "middle";
    const bottom = height - 18, gap = 12, each = (bottom - 8 - gap) / 2;
    const curves = this.sides.map(side => side.replay.curves);
    this.plots = [
      this.plot(8, 8 + each, curves.map(c => c.queue_veh), "queue [veh]"),
      this.plot(8 + each + gap, bottom, curves.map(c => c.delay_s.map(s => s / 3600)), "delay so far [veh·h]"),
    ];
    // clock times
    to.fillStyle = ink; to.globalAlpha = 0.7; to.textAlign = "center";
    const begin = this.head.scenario.begin_s, span = this.head.scenario.end_s - begin;
    const every = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200].find(s => span / s * 62 < width - this.left) || 86400;
    for (let t = Math.ceil(begin / every) * every; t <= begin + span; t += every) {
      const x = this.left + (t - begin) / span * (width - this.left - this.right);
      to.fillText(every < 60 ? clock(t) : clock(t).slice(0, 5), clamp(x, 18, width - 18), height - 6);
      to.fillRect(x, bottom, 1, 3);
    }
    to.globalAlpha = 1;
    for (const plot of this.plots) {
      to.strokeStyle = ink; to.lineWidth = 1; to.fillStyle = ink; to.textAlign = "right";
      for (const value of [0, plot.top_value]) {
        to.globalAlpha = value ? 0.12 : 0.3;
        to.beginPath(); to.moveTo(this.left, plot.y(value)); to.lineTo(width - this.right, plot.y(value)); to.stroke();
        to.globalAlpha = 0.7; to.fillText(short(value).replace(/\.0+$/, ""), this.left - 6, plot.y(value));
      }
      to.globalAlpha = 1;
      if (plot.lines.length === 2) this.between(to, plot, width, theme);
      plot.lines.forEach((line, n) => {
        to.beginPath(); this.line(to, plot, line, width);
        to.strokeStyle = colours[n]; to.lineWidth = 1.6; to.setLineDash(n ? [5, 2.5] : []); to.stroke(); to.setLineDash([]);
      });
      to.textAlign = "left"; to.fillStyle = ink; to.globalAlpha = 0.85;
      to.fillText(plot.label, this.left + 5, plot.top + 5); to.globalAlpha = 1;
    }
    this.marks(to, width, ink);
  }
  plot(top, bottom, lines, label) {
    const most = Math.max(1e-6, ...lines.map(line => line.reduce((a, b) => Math.max(a, b), 0)));
    const unit = 10 ** Math.floor(Math.log10(most)), top_value = [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10].map(f => f * unit).find(v => v >= most * 0.999);
    return { top, bottom, lines, label, top_value, y: value => bottom - value / top_value * (bottom - top) };
  }
  /** One x per pixel column: the greatest value that falls into it. */
  line(to, plot, line, width, back = false) {
    const columns = Math.max(Math.floor(width - this.left - this.right), 1), n = line.length;
    for (let i = 0; i <= columns; i++) {
      const c = back ? columns - i : i;
      const from = Math.min(Math.floor(c * n / columns), n - 1), until = Math.min(Math.max(Math.floor((c + 1) * n / columns), from + 1), n);
      let most = line[from];
      for (let k = from + 1; k < until; k++) if (line[k] > most) most = line[k];
      const x = this.left + c, y = plot.y(most);
      if (i === 0 && !back) to.moveTo(x, y); else to.lineTo(x, y);
    }
  }
  /** The area between two lines: what the one has more than the other. */
  between(to, plot, width, theme) {
    to.beginPath();
    this.line(to, plot, plot.lines[0], width);
    this.line(to, plot, plot.lines[1], width, true);
    to.closePath();
    to.fillStyle = theme === "dark" ? "rgba(150,170,190,.18)" : "rgba(60,80,100,.12)";
    to.fill();
  }
  marks(to, width, ink) {
    this.sides.forEach(side => {
      const branch = side.replay.head.branch;
      if (!branch) return;
      const x = this.x((branch.at_s - this.head.scenario.begin_s) / side.step_s, width);
      to.strokeStyle = ink; to.setLineDash([3, 3]); to.lineWidth = 1; to.beginPath();
      to.moveTo(x, 6); to.lineTo(x, this.plots[1].bottom); to.stroke(); to.setLineDash([]);
      to.fillStyle = ink; to.textAlign = x > width * 0.7 ? "right" : "left";
      to.fillText(`from here on ${branch.then}`, x + (x > width * 0.7 ? -4 : 4), this.plots[1].top + 5);
    });
  }
  tip(to, width, height, theme) {
    const share = clamp((this.hover - this.left) / (width - this.left - this.right), 0, 1);
    const step = Math.min(Math.floor(share * this.steps), this.steps - 1);
    const x = this.x(step, width), names = this.sides.length > 1 ? ["A", "B"] : [""];
    const time = clock(this.head.scenario.begin_s + step * this.sides[0].step_s);
    const lines = [time, ...names.map((name, n) => `${name} ${number(this.plots[0].lines[n][step])} veh, ${number(this.plots[1].lines[n][step], 1)} veh·h`.trim())];
    to.font = "11px system-ui, sans-serif";
    const wide = Math.max(...lines.map(line => to.measureText(line).width)) + 14, left = clamp(x + 8, 2, width - wide - 2);
    to.strokeStyle = PALETTES[theme].ink; to.globalAlpha = 0.5; to.lineWidth = 1;
    to.beginPath(); to.moveTo(x, 4); to.lineTo(x, height - 18); to.stroke();
    to.globalAlpha = 0.95; to.fillStyle = theme === "dark" ? "#1d2530" : "#ffffff";
    to.beginPath(); to.roundRect(left, 6, wide, lines.length * 15 + 8, 5); to.fill();
    to.globalAlpha = 1; to.textAlign = "left";
    lines.forEach((line, n) => { to.fillStyle = n ? SIDE_COLOURS[theme][n - 1] : PALETTES[theme].ink; to.fillText(line, left + 7, 18 + n * 15); });
  }
}
