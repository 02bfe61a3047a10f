// The recorded episodes: a list, their replay (pictures and joints as they were stored), and relabelling. A label given
// here is a fact beside the recording, which itself is never changed.
import { ask } from "./ask.js";

const OUTCOMES = ["success", "failure", "discard", "as recorded"];
const OWNERS = ["policy", "human", "shared", "safety", "hold", "reset"];
const COLOURS = { policy: "#4c9bff", human: "#ffb24d", shared: "#35c6b4", safety: "#ff5a66", hold: "#8791a0", reset: "#b18cff" };
const RECOVERY = 2;  // robot.types.Segment

const inWords = (outcome) => (outcome === "operator_abort" ? "no label" : outcome.replaceAll("_", " "));

export class Episodes {
  constructor(place, notify) {
    [this.place, this.notify] = [place, notify];
    this.list = place.querySelector("#episode-list");
    this.player = place.querySelector("#player");
    this.picture = place.querySelector("#replay-picture");
    this.slider = place.querySelector("#replay-row");
    this.strip = place.querySelector("#replay-owners");
    this.words = place.querySelector("#replay-words");
    this.cameras = place.querySelector("#replay-camera");
    this.play = place.querySelector("#replay-play");
    this.chosen = null;   // what the server says of the episode that is replayed
    this.row = 0;
    this.isPlaying = false;
    this.isLoading = false;
    this.slider.addEventListener("input", () => { this.isPlaying = false; this.show(Number(this.slider.value)); });
    this.play.addEventListener("click", () => this.toggle());
    this.cameras.addEventListener("change", () => { this.cameras.blur(); this.show(this.row); });
    place.querySelector("#relabel").append(...OUTCOMES.map((outcome) => this.labelButton(outcome)));
  }

  labelButton(outcome) {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", id: `relabel-${outcome.replace(" ", "-")}`, textContent: outcome });
    button.addEventListener("click", async () => {
      if (!this.chosen) return;
      button.blur();
      const answer = await ask(`episodes/${this.chosen.id}/label`, { outcome });
      this.notify(answer.error ?? `${this.chosen.id} counts as ${answer.outcome} now; the recording is as it was.`);
      await this.refresh();
    });
    return button;
  }

  refreshIfShown() {
    if (!this.place.hidden) this.refresh();
  }

  async refresh() {
    const answer = await ask("episodes");
    if (answer.error) {
      this.list.replaceChildren(Object.assign(document.createElement("p"), { textContent: answer.error }));
      return;
    }
    this.list.replaceChildren(...answer.episodes.map((episode) => this.entry(episode)));
    if (!answer.episodes.length) this.list.textContent = "No episode is recorded yet.";
  }

  entry(episode) {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.episode = episode.id;
    button.className = episode.id === this.chosen?.id ? "chosen" : "";
    const [when, what] = [document.createElement("span"), document.createElement("strong")];
    when.textContent = `${episode.when}  ${episode.seconds.toFixed(0)} s${episode.takeovers ? `, ${episode.takeovers} takeover${episode.takeovers > 1 ? "s" : ""}` : ""}`;
    what.textContent = inWords(episode.outcome) + (episode.outcome === episode.recorded ? "" : ` (was ${inWords(episode.recorded)})`);
    what.dataset.outcome = episode.outcome;
    button.append(when, what);
    button.addEventListener("click", () => { button.blur(); this.open(episode.id); });
    return button;
  }

  async open(id) {
    const answer = await ask(`episodes/${id}`);
    if (answer.error) return this.notify(answer.error);
    this.chosen = answer;
    this.player.hidden = false;
    for (const button of this.list.children) button.classList.toggle("chosen", button.dataset.episode === id);
    this.cameras.replaceChildren(...answer.cameras.map((name) => Object.assign(document.createElement("option"), { textContent: name })));
    this.slider.max = answer.rows.length - 1;
    this.paintOwners();
    this.isPlaying = true;
    this.show(0);
  }

  paintOwners() {
    const [context, count] = [this.strip.getContext("2d"), this.chosen.owners.length];
    this.strip.width = count;
    this.chosen.owners.forEach((owner, index) => {
      context.fillStyle = COLOURS[OWNERS[owner]] ?? "#333";
      context.fillRect(index, 0, 1, this.strip.height);
      if (this.chosen.segments[index] === RECOVERY) context.clearRect(index, 0, 1, this.strip.height / 2);
    });
  }

  toggle() {
    if (!this.chosen) return;
    this.isPlaying = !this.isPlaying;
    if (this.isPlaying && this.row >= this.chosen.rows.length - 1) this.row = 0;
    this.show(this.row);
  }

  // The picture asked for last is the next one shown: while one is on its way no other is asked for.
  show(index) {
    if (!this.chosen) return;
    this.row = Math.min(index, this.chosen.rows.length - 1);
    this.slider.value = this.row;
    this.play.textContent = this.isPlaying ? "Pause" : "Play";
    const owner = OWNERS[this.chosen.owners[this.row]];
    const segment = this.chosen.segment_names[this.chosen.segments[this.row]];
    this.words.textContent = `${this.chosen.times_s[this.row].toFixed(1)} s, ${owner}, ${segment}`;
    if (this.isLoading || !this.cameras.value) return;
    this.isLoading = true;
    const shown = this.row;
    this.picture.onload = this.picture.onerror = () => {
      this.isLoading = false;
      if (shown !== this.row) this.show(this.row);
    };
    this.picture.src = `episodes/${this.chosen.id}/image/${this.cameras.value}/${this.chosen.rows[shown]}${location.search}`;
  }

  // Go on with the replay; returns the figure of the arm at its row, null where nothing is replayed.
  paint(at) {
    if (!this.chosen || this.place.hidden) return null;
    if (this.isPlaying) {
      this.playedFrom ??= at - this.chosen.times_s[this.row];
      const due = this.chosen.times_s.findIndex((time) => time >= at - this.playedFrom);
      const next = due < 0 ? this.chosen.rows.length - 1 : due;
      if (next !== this.row) this.show(next);
      if (due < 0) this.toggle();
    } else {
      this.playedFrom = undefined;
    }
    return this.chosen.figures[this.row];
  }
}
