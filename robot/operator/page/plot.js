// Small line plots on a canvas: the last minute of what the policy says of itself, learning curves.

const COLOURS = ["#4c9bff", "#ffb24d", "#35c6b4", "#b18cff", "#ff5a66"];
const MARGIN = { left: 38, right: 10, top: 10, bottom: 22 };

// `series` has {name, points: [[x, y], ...]}; `axes` has x: [low, high], y: [low, high], xLabel, and
// showsEnds where the ends of x are told.
export function plot(canvas, series, axes) {
  const box = canvas.getBoundingClientRect();
  if (box.width === 0) return;
  const scale = Math.min(2, window.devicePixelRatio || 1);
  Object.assign(canvas, { width: Math.round(box.width * scale), height: Math.round(box.height * scale) });
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  const [wide, high] = [box.width - MARGIN.left - MARGIN.right, box.height - MARGIN.top - MARGIN.bottom];
  const toX = (x) => MARGIN.left + (wide * (x - axes.x[0])) / (axes.x[1] - axes.x[0] || 1);
  const toY = (y) => MARGIN.top + high * (1 - (y - axes.y[0]) / (axes.y[1] - axes.y[0] || 1));
  context.font = "11px system-ui, sans-serif";
  context.textBaseline = "middle";
  for (const share of [0, 0.5, 1]) {
    const y = axes.y[0] + share * (axes.y[1] - axes.y[0]);
    context.strokeStyle = "#2a3039";
    context.beginPath();
    context.moveTo(MARGIN.left, toY(y));
    context.lineTo(MARGIN.left + wide, toY(y));
    context.stroke();
    context.fillStyle = "#97a1ae";
    context.textAlign = "right";
    context.fillText(Number(y.toPrecision(2)).toString(), MARGIN.left - 6, toY(y));
  }
  context.textAlign = "center";
  context.fillText(axes.xLabel ?? "", MARGIN.left + wide / 2, box.height - 8);
  if (axes.showsEnds) axes.x.forEach((x) => context.fillText(`${x}`, Math.min(toX(x), box.width - 20), box.height - 8));
  let named = MARGIN.left + 8;
  series.forEach((line, index) => {
    context.strokeStyle = context.fillStyle = COLOURS[index % COLOURS.length];
    context.lineWidth = 2;
    context.beginPath();
    line.points.forEach(([x, y], at) => (at ? context.lineTo(toX(x), toY(y)) : context.moveTo(toX(x), toY(y))));
    context.stroke();
    if (line.points.length < 60) for (const [x, y] of line.points) context.fillRect(toX(x) - 2, toY(y) - 2, 4, 4);
    context.textAlign = "left";
    context.fillText(line.name, named, MARGIN.top + 6);
    named += context.measureText(line.name).width + 14;
  });
}

const TRACE_S = 60;

export class Trace {
  constructor(canvas, words) {
    [this.canvas, this.words] = [canvas, words];
    this.series = new Map();
  }

  // `said` has numbers by name, as the policy published them; nothing is drawn that nobody said.
  note(at, said) {
    for (const [name, value] of Object.entries(said ?? {})) {
      if (!this.series.has(name)) this.series.set(name, []);
      this.series.get(name).push([at, value]);
    }
    for (const points of this.series.values()) while (points.length && at - points[0][0] > TRACE_S) points.shift();
  }

  paint(at, hasPolicy) {
    const lines = [...this.series].filter(([, points]) => points.length).map(([name, points]) => ({
      name: `${name.replaceAll("_", " ")} ${points.at(-1)[1].toFixed(2)}`,
      points: points.map(([when, value]) => [when - at, value]),
    }));
    this.canvas.hidden = lines.length === 0;
    this.words.hidden = lines.length > 0;
    this.words.textContent = hasPolicy ? "This policy publishes no success probability and no doubt."
      : "No policy is running: nobody says how likely success is.";
    if (!lines.length) return;
    const largest = Math.max(1, ...lines.flatMap((line) => line.points.map(([, value]) => value)));
    plot(this.canvas, lines, { x: [-TRACE_S, 0], y: [0, largest], xLabel: "last 60 s" });
  }
}
