// The cell as a figure of lines, from the kinematics of the server: floor, arm, the way of the tcp, the nearest pose of a
// demonstration. Drag to turn it; a double click brings the first view back.

const START = { turn: -2.35, tilt: 0.45, zoom: 1 };
const MIDDLE = [0.35, 0, 0.25];  // what the view turns about [m]
const REACH_M = 1.5;             // of the cell that fits into the picture
const TRAIL = 200;

export class Scene3d {
  constructor(canvas) {
    this.canvas = canvas;
    this.view = { ...START };
    this.trail = [];
    canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
    canvas.addEventListener("pointermove", (event) => event.buttons && this.turn(event.movementX, event.movementY));
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.view.zoom = Math.max(0.5, Math.min(4, this.view.zoom * Math.exp(-event.deltaY / 600)));
    }, { passive: false });
    canvas.addEventListener("dblclick", () => { this.view = { ...START }; });
  }

  turn(dx, dy) {
    this.view.turn -= dx / 120;
    this.view.tilt = Math.max(-0.1, Math.min(1.5, this.view.tilt + dy / 120));
  }

  note(tcp) {
    if (!tcp) return;
    const last = this.trail.at(-1);
    if (last && Math.hypot(tcp[0] - last[0], tcp[1] - last[1], tcp[2] - last[2]) < 0.002) return;
    this.trail.push(tcp.slice(0, 3));
    if (this.trail.length > TRAIL) this.trail.shift();
  }

  place([x, y, z]) {
    const [dx, dy, dz] = [x - MIDDLE[0], y - MIDDLE[1], z - MIDDLE[2]];
    const [cos, sin] = [Math.cos(this.view.turn), Math.sin(this.view.turn)];
    const [right, away] = [cos * dx + sin * dy, -sin * dx + cos * dy];
    const up = Math.cos(this.view.tilt) * dz + Math.sin(this.view.tilt) * away;
    const scale = (Math.min(this.canvas.width, this.canvas.height) / REACH_M) * this.view.zoom;
    return [this.canvas.width / 2 + scale * right, this.canvas.height / 2 - scale * up];
  }

  line(points, colour, width, dash = []) {
    const context = this.context;
    [context.strokeStyle, context.lineWidth] = [colour, width];
    context.setLineDash(dash);
    context.beginPath();
    points.forEach((point, index) => {
      const [x, y] = this.place(point);
      if (index) context.lineTo(x, y);
      else context.moveTo(x, y);
    });
    context.stroke();
  }

  dots(points, colour, radius) {
    this.context.fillStyle = colour;
    for (const point of points) {
      this.context.beginPath();
      this.context.arc(...this.place(point), radius, 0, 2 * Math.PI);
      this.context.fill();
    }
  }

  // `figure` and `ghost` are lists of lines of points [m] in the cell's frame.
  paint(figure, ghost, colour) {
    const box = this.canvas.getBoundingClientRect();
    if (box.width === 0) return;
    const scale = Math.min(2, window.devicePixelRatio || 1);
    const [width, height] = [Math.round(box.width * scale), Math.round(box.height * scale)];
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    this.context = this.canvas.getContext("2d");
    this.context.clearRect(0, 0, width, height);
    this.context.lineCap = this.context.lineJoin = "round";
    for (let step = -4; step <= 4; step += 1) {
      const at = step / 5;
      this.line([[MIDDLE[0] - 0.8, at, 0], [MIDDLE[0] + 0.8, at, 0]], "#262c35", scale);
      this.line([[MIDDLE[0] + at, -0.8, 0], [MIDDLE[0] + at, 0.8, 0]], "#262c35", scale);
    }
    this.line([[0, 0, 0], [0.2, 0, 0]], "#e06666", 2 * scale);
    this.line([[0, 0, 0], [0, 0.2, 0]], "#6fbf73", 2 * scale);
    this.line([[0, 0, 0], [0, 0, 0.2]], "#6f9fe0", 2 * scale);
    if (this.trail.length > 1) this.line(this.trail, "rgba(255, 255, 255, 0.35)", 1.5 * scale);
    for (const line of ghost ?? []) this.line(line, "rgba(120, 220, 255, 0.8)", 3 * scale, [7 * scale, 6 * scale]);
    for (const line of figure ?? []) {
      this.line(line, colour, 6 * scale);
      this.dots(line, "#e4e8ee", 3.5 * scale);
    }
  }
}
