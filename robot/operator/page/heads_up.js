// What stands at the head of the page: who drives, since when, how sound everything is, and what to do next.
import { now } from "./transport.js";

const OWNERS = { policy: "Policy", human: "Person", shared: "Shared", safety: "Safety", hold: "Holding", reset: "Reset" };
const MODES = {  // what it means, and what to do next
  auto: ["the policy decides", "Hold Space, or press a pad, to take over and drive; T takes over and keeps the control while this page has the focus."],
  hold: ["the arm holds still", "H hands back to the policy. Space or a pad takes over. Y or N ends the episode."],
  human_recovery: ["recovery", "1 of 3, recover: drive back to where the policy knows its way (R goes back along the way). Then press C."],
  human_correction: ["correction", "H hands back to the policy; letting go makes the arm hold. Y or N ends the episode."],
  safety: ["stopped until reset", "Look at the robot first; then Reset stop, or the next episode."],
  reset: ["the scene is being reset", "The episode begins when the scene is ready."],
  ended: ["the episode is over", "Start the next one: the policy runs, or you drive. Z takes the label back within 5 s."],
};
const AFTER_RECOVERY = "2 of 3, correct: finish what the policy could not. 3 of 3, end: Y where it succeeded, N where not.";
const HELD_UP = "The arm holds though you press: it was frozen, or what you sent came late. Let go and press again.";
const REST = "You have been at it for 25 minutes: hand back or freeze, and take a break of five.";
const STALE_S = 0.5;
const NEWS_MS = 6000;

export const fixed = (value, digits, unit = "") => (Number.isFinite(value) ? value.toFixed(digits) + unit : "–");

const minutes = (seconds) => (Number.isFinite(seconds) ? `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}` : "–");
const byId = (id) => document.getElementById(id);

export function set(id, text, isBad = false) {
  const element = byId(id);
  if (element.textContent !== text) element.textContent = text;
  element.classList.toggle("bad", isBad);
}

export class HeadsUp {
  constructor(transport, drive) {
    [this.transport, this.drive] = [transport, drive];
    this.notice = "";
    this.noticeAt = -Infinity;
    this.messageNumber = 0;
    this.recovered = -1;  // the takeover that had a recovery
    this.paints = [];
  }

  hear(state) {
    if (state.notice) this.notify(state.notice);
    if (state.message && state.message[0] !== this.messageNumber) {
      this.messageNumber = state.message[0];
      if (state.message[1]) this.notify(state.message[1]);
    }
    if (state.author?.mode === "human_recovery") this.recovered = state.author.intervention_id;
  }

  notify(text) {
    [this.notice, this.noticeAt] = [text, performance.now()];
  }

  get isMine() { return this.transport.state.lease === "yours"; }
  get isHuman() { return (this.transport.state.author?.mode ?? "").startsWith("human"); }

  // [owner as the border shows it, in a word, in a sentence]
  words() {
    const { transport } = this;
    if (!transport.isOpen) return ["none", "Not connected", "trying again; nothing you press reaches the robot"];
    if (now() - transport.stateAt > STALE_S) return ["none", "No news", "the page's node does not answer"];
    const { author, lease, owner_s: owned } = transport.state;
    if (!author) return ["none", "Waiting", "the arbiter has not spoken yet"];
    const owner = author.mode === "safety" ? "safety" : author.owner;
    const word = owner === "human" && this.isMine ? "You drive" : OWNERS[owner] ?? owner;
    const isIdle = author.owner === "hold" && author.mode === "auto";
    const meaning = isIdle ? "waiting for the policy" : MODES[author.mode]?.[0] ?? author.mode;
    return [owner, word, `${meaning}, ${fixed(owned, 1, " s")}${lease === "taken" ? ", another page holds the controls" : ""}`];
  }

  next(owner) {
    const { author, shift } = this.transport.state;
    if (owner === "none") return "";
    if (author.mode === "human_correction" && author.intervention_id === this.recovered && this.recovered >= 0) return AFTER_RECOVERY;
    if (author.mode === "hold" && this.drive.isEngaged) return HELD_UP;
    if (shift?.rest_is_due && !this.isHuman) return REST;
    return MODES[author.mode]?.[1] ?? "";
  }

  paint() {
    const { transport } = this;
    const { state } = transport;
    const [owner, word, note] = this.words();
    document.body.dataset.owner = owner;
    set("owner", word);
    set("owner-note", note);
    this.paintEpisode(state);
    this.paintRobot(state);
    this.paintLink(state);
    const isNews = performance.now() - this.noticeAt < NEWS_MS;
    set("notice", isNews ? this.notice : this.next(owner));
    byId("notice").classList.toggle("news", isNews);
    byId("notice").classList.toggle("rest", Boolean(state.shift?.rest_is_due));
    return owner;
  }

  paintEpisode(state) {
    const episode = state.episode ?? {};
    const end = episode.end_reason && episode.end_reason !== "open" ? episode.end_reason : episode.task;
    set("episode", [episode.phase ?? "–", end].filter(Boolean).join(", "));
    set("clock", episode.phase === "running" ? fixed(state.episode_s, 1, " s") : "–");
    set("takeover", this.isHuman ? fixed(state.owner_s, 1, " s") : "–");
    const isRunning = ["running", "reset"].includes(episode.phase);
    for (const name of ["start", "demonstrate"]) byId(`command-${name}`).disabled = isRunning;
    byId("command-end").disabled = !isRunning;
    const { shift } = state;
    set("shift", shift ? `${shift.takeovers}, ${fixed(shift.per_minute, 1, "/min")}, ${minutes(shift.driving_s)}` : "–", shift?.rest_is_due);
  }

  paintRobot(state) {
    const safety = state.safety ?? "";
    const clips = state.clips?.length ? `, ${state.clips.join(" ")}` : "";
    set("safety", safety + clips || "–", !["ok", "limited", "holding", ""].includes(safety));
    const arm = Math.max(0, this.drive.sides.indexOf(this.drive.side));
    set("tcp", state.tcp_m ? state.tcp_m.slice(3 * arm, 3 * arm + 3).map((value) => value.toFixed(3)).join("  ") : "–");
    const range = this.transport.hello?.grippers?.[arm];  // [closed, open, unit]
    const measured = [state.gripper_m].flat()[arm];
    const isOpen = range && measured > 0.5 * (range[0] + range[1]);
    set("gripper", range?.[2] === "rad" ? fixed((measured * 180) / Math.PI, 1, "°") : fixed(measured * 1000, 1, " mm"));
    set("gripper-state", Number.isFinite(measured) && range ? (isOpen ? "open" : "closed") : "");
    const near = state.familiar;
    set("familiar", near ? `${(near.distance_m * 1000).toFixed(0)} mm off` : "no demos", near?.score < 0.2);
  }

  paintLink(state) {
    const { transport } = this;
    const age = now() - transport.stateAt;
    set("age", `${fixed(age * 1000, 0)}, ${fixed(transport.clock.rtt * 1000, 0, " ms")}`, age > STALE_S);
    const { loop, policy } = state;
    set("loop", loop ? `${fixed(loop.late_p50_ms, 1)}, ${fixed(loop.late_p99_ms, 1, " ms")}, ${loop.overruns}` : "–", loop?.late_p99_ms > 20);
    const version = policy?.version >= 0 ? `v${policy.version}` : "";
    set("policy", policy ? [version, Number.isFinite(policy.age_s) ? minutes(policy.age_s) : ""].filter(Boolean).join(", ") || "running" : "–");
    this.paints.push(now());
    while (this.paints[0] < now() - 1) this.paints.shift();
    set("fps", `${this.paints.length}`, this.paints.length < 15);
  }
}
