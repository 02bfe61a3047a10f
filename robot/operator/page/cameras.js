// The pictures, each with its age and rate; over the one that the aid was made for, where the demonstrations were and how
// they stood nearest to here.
import { now } from "./transport.js";

const STALE_S = 0.5;
const RATE_WINDOW_S = 1;
const HEAT = "255, 178, 77";
const GHOST = "rgba(120, 220, 255, 0.9)";

export class Cameras {
  constructor(place) {
    this.place = place;
    this.views = [];
    this.shown = 0;  // the number of the newest image
    this.aid = null;
    this.isAided = true;
  }

  build(names) {
    this.shown = 0;
    if (this.views.map((view) => view.name).join() === names.join()) {
      for (const view of this.views) view.captured = -Infinity;
      return;
    }
    this.views = [];
    this.place.replaceChildren(...names.map((name) => this.figure(name)));
  }

  figure(name) {
    const figure = document.createElement("figure");
    figure.innerHTML = `<canvas width="640" height="480"></canvas><canvas class="over" width="640" height="480"></canvas>
      <figcaption><span></span><output>no image yet</output></figcaption>`;
    const [canvas, over] = figure.querySelectorAll("canvas");
    figure.querySelector("span").textContent = name;
    canvas.id = `camera-${name}`;
    this.views.push({ name, figure, canvas, over, context: canvas.getContext("2d"), captured: -Infinity, arrivals: [],
      output: figure.querySelector("output") });
    return figure;
  }

  async show(buffer) {
    const head = new DataView(buffer, 0, 16);
    const [number, camera, captured] = [head.getUint32(0, true), head.getUint32(4, true), head.getFloat64(8, true)];
    const view = this.views[camera];
    try {
      const bitmap = await createImageBitmap(new Blob([new Uint8Array(buffer, 16)], { type: "image/jpeg" }));
      if (view && captured > view.captured) {
        if (view.canvas.width !== bitmap.width) Object.assign(view.canvas, { width: bitmap.width, height: bitmap.height });
        view.context.drawImage(bitmap, 0, 0);
        view.captured = captured;
        view.arrivals.push(now());
      }
      bitmap.close();
    } finally {
      this.shown = Math.max(this.shown, number);
    }
  }

  paint(offset, familiar) {
    for (const view of this.views) {
      const age = now() + offset - view.captured;
      view.figure.classList.toggle("stale", !(age < STALE_S));
      while (view.arrivals.length && now() - view.arrivals[0] > RATE_WINDOW_S) view.arrivals.shift();
      if (Number.isFinite(age)) view.output.textContent = `${(age * 1000).toFixed(0)} ms old, ${view.arrivals.length}/s`;
      if (view.name === this.aid?.camera) this.paintAid(view, familiar);
    }
  }

  paintAid(view, familiar) {
    const context = view.over.getContext("2d");
    if (view.over.width !== this.aid.width) Object.assign(view.over, { width: this.aid.width, height: this.aid.height });
    context.clearRect(0, 0, view.over.width, view.over.height);
    if (!this.isAided) return;
    const size = this.aid.cell_px;
    for (const [x, y, share] of this.aid.cells) {
      context.fillStyle = `rgba(${HEAT}, ${0.12 + 0.4 * share})`;
      context.beginPath();
      context.arc(x, y, size * 0.75, 0, 2 * Math.PI);
      context.fill();
    }
    if (!familiar) return;
    context.strokeStyle = GHOST;
    context.lineWidth = 2.5;
    context.lineCap = context.lineJoin = "round";
    context.setLineDash([8, 6]);
    for (const line of familiar.ghost_px) {
      context.beginPath();
      line.forEach(([x, y], index) => (index ? context.lineTo(x, y) : context.moveTo(x, y)));
      context.stroke();
    }
  }
}
