// Shapes, the camera, and small helpers.
"use strict";

const $ = id => document.getElementById(id);
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/** Flat [x, y, x, y, …] in metres of a shape that is stored as differences in 0.1 m. */
function unfold(shape) {
  const flat = new Float64Array(shape.length);
  for (let i = 0, x = 0, y = 0; i < shape.length; i += 2) {
    flat[i] = (x += shape[i]) / 10;
    flat[i + 1] = (y += shape[i + 1]) / 10;
  }
  return flat;
}

/** The end of a flat shape and the unit direction in which it gets there. */
function endOf(flat, back = false) {
  const n = flat.length;
  const [x, y, px, py] = back ? [flat[0], flat[1], flat[2], flat[3]] : [flat[n - 2], flat[n - 1], flat[n - 4], flat[n - 3]];
  const length = Math.hypot(x - px, y - py) || 1;
  return { x, y, ux: (back ? px - x : x - px) / length, uy: (back ? py - y : y - py) / length };
}

function lengthOf(flat) {
  let sum = 0;
  for (let i = 2; i < flat.length; i += 2) sum += Math.hypot(flat[i] - flat[i - 2], flat[i + 1] - flat[i - 1]);
  return sum;
}

/** The last index whose value is at most `value`; 0 where there is none. */
function lastAtMost(sorted, value) {
  let low = 0, high = sorted.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (sorted[middle] <= value) low = middle; else high = middle - 1;
  }
  return low;
}

/** What is in view: its centre [m] and the scale [px/m]. Both sides share one camera. */
class Camera {
  constructor(bounds) {
    this.bounds = bounds;
    this.x = (bounds.left + bounds.right) / 2;
    this.y = (bounds.low + bounds.high) / 2;
    this.scale = 1;
  }
  /** Show all of `bounds` on a canvas of this size [CSS px], beside what covers `left` to `bottom` of it. */
  fit(width, height, bounds = this.bounds, inset = { left: 12, top: 44, right: 12, bottom: 12 }) {
    const across = Math.max(bounds.right - bounds.left, 30), up = Math.max(bounds.high - bounds.low, 30);
    const w = Math.max(width - inset.left - inset.right, 60), h = Math.max(height - inset.top - inset.bottom, 60);
    this.scale = Math.min(w / across, h / up);
    this.x = (bounds.left + bounds.right) / 2 + (inset.right - inset.left) / 2 / this.scale;
    this.y = (bounds.low + bounds.high) / 2 + (inset.top - inset.bottom) / 2 / this.scale;
    this.keepIn();
  }
  zoom(factor, px, py, width, height) {
    const before = this.toWorld(px, py, width, height);
    this.scale = clamp(this.scale * factor, 0.02, 60);
    const after = this.toWorld(px, py, width, height);
    this.x += before.x - after.x;
    this.y += before.y - after.y;
    this.keepIn();
  }
  pan(dx, dy) {
    this.x -= dx / this.scale;
    this.y += dy / this.scale;
    this.keepIn();
  }
  keepIn() {
    const { left, right, low, high } = this.bounds;
    this.x = clamp(this.x, left, right);
    this.y = clamp(this.y, low, high);
  }
  toWorld(px, py, width, height) {
    return { x: this.x + (px - width / 2) / this.scale, y: this.y - (py - height / 2) / this.scale };
  }
  toScreen(x, y, width, height) {
    return { x: width / 2 + (x - this.x) * this.scale, y: height / 2 - (y - this.y) * this.scale };
  }
  /** Let a context draw in metres; `ratio` device pixels make a CSS pixel. */
  apply(context, width, height, ratio) {
    const k = this.scale * ratio;
    context.setTransform(k, 0, 0, -k, width * ratio / 2 - this.x * k, height * ratio / 2 + this.y * k);
  }
}

function clock(seconds) {
  const s = Math.floor(seconds + 1e-6), two = n => String(n).padStart(2, "0");
  return `${two(Math.floor(s / 3600))}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
}

const LANGUAGE = "en";
function number(value, digits = 0) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const text = Math.abs(value).toLocaleString(LANGUAGE, { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return (value < 0 && Number(text.replace(/,/g, "")) !== 0 ? "−" : "") + text;
}
const signed = (value, digits = 0) => (value > 0 && number(value, digits) !== number(0, digits) ? "+" : "") + number(value, digits);

/** Three to four digits, whatever the size. */
const short = value => number(value, Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2);

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") made.textContent = value;
    else if (value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter(child => child !== null && child !== undefined));
  return made;
}
