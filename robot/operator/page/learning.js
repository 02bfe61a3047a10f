// The learning curves of the runs in a folder.
import { ask } from "./ask.js";
import { plot } from "./plot.js";

export class Learning {
  constructor(canvas, words, choice) {
    [this.canvas, this.words, this.choice] = [canvas, words, choice];
    this.runs = [];
    choice.addEventListener("change", () => { choice.blur(); this.paint(); });
  }

  async refresh() {
    const answer = await ask("curves");
    this.runs = answer.runs ?? [];
    this.words.textContent = answer.error ?? (this.runs.length ? "" : `No run with a curve in ${answer.folder}.`);
    const [before, names] = [this.choice.value, this.runs.map((run) => run.name)];
    this.choice.replaceChildren(...names.map((name) => Object.assign(document.createElement("option"), { textContent: name })));
    if (names.includes(before)) this.choice.value = before;
    this.choice.hidden = names.length === 0;
    this.paint();
  }

  paint() {
    const run = this.runs.find((found) => found.name === this.choice.value);
    this.canvas.hidden = !run;
    if (!run) return;
    const last = run.curve.at(-1);
    this.words.textContent = `${last[1].toFixed(2)} of ${last[2]} episodes after ${last[0]} steps`;
    const points = run.curve.map(([steps, success]) => [steps, success]);
    plot(this.canvas, [{ name: "success", points }], { x: [0, Math.max(1, last[0])], y: [0, 1], xLabel: "steps", showsEnds: true });
  }
}
