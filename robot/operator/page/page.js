"use strict";
// The operator page. It sends its whole state 20 times a second while it steers (10 otherwise), so a lost packet is made
// good by the next; what happens once (an edge) is repeated until the server has acknowledged its number.

const MOVES = { KeyW: [1, 0, 0], KeyS: [-1, 0, 0], KeyA: [0, 1, 0], KeyD: [0, -1, 0], KeyE: [0, 0, 1], KeyQ: [0, 0, -1],
  ArrowUp: [1, 0, 0], ArrowDown: [-1, 0, 0], ArrowLeft: [0, 1, 0], ArrowRight: [0, -1, 0], PageUp: [0, 0, 1], PageDown: [0, 0, -1] };
const EDGES = { KeyG: "gripper", KeyH: "hand_back", KeyF: "freeze", KeyY: "success", KeyN: "failure", KeyX: "discard",
  KeyC: "correction", Escape: "stop" };
const PANELS = {
  drive: [["KeyQ", "Q", "down"], ["KeyW", "W", "forward"], ["KeyE", "E", "up"], ["KeyA", "A", "left"], ["KeyS", "S", "back"],
    ["KeyD", "D", "right"], ["Space", "Space", "hold to drive"], ["KeyT", "T", "latch"], ["ShiftLeft", "Shift", "fine"],
    ["KeyG", "G", "gripper"]],
  control: [["KeyH", "H", "hand back"], ["KeyF", "F", "freeze"]],
  mark: [["KeyY", "Y", "success"], ["KeyN", "N", "failure"], ["KeyX", "X", "discard"], ["KeyC", "C", "correct"]],
};
const COMMANDS = [["start", "Policy runs"], ["demonstrate", "I drive"], ["end", "End"], ["reset", "Reset stop"]];
const OWNERS = { policy: "Policy", human: "Person", shared: "Shared", safety: "Safety", hold: "Holding", reset: "Reset" };
const MODES = {  // what it means, and what to do next
  auto: ["the policy decides", "Hold Space to take over and drive; T takes over and keeps the control while this page has the focus."],
  hold: ["the arm holds still", "H hands back to the policy. Space takes over."],
  human_recovery: ["recovery", "Drive back to where the policy knows its way, then press C."],
  human_correction: ["correction", "H hands back to the policy; letting go of Space makes the arm hold."],
  safety: ["stopped until reset", "Look at the robot first; then Reset stop, or the next episode."],
  reset: ["the scene is being reset", "The episode begins when the scene is ready."],
  ended: ["the episode is over", "Start the next one: the policy runs, or you drive."],
};
const SIDE_KEYS = ["Digit1", "Digit2", "Digit3", "Digit4"];
const FINE = 0.25;
const EDGE_LIFE_MS = 1000;     // an edge nobody acknowledged is dropped then, except a stop
const HOLD_AFTER_EDGE_MS = 600;  // the lease outlives an edge by this, so that the robot can answer
const STALE_S = 0.5;

const byId = (id) => document.getElementById(id);
const now = () => performance.now() / 1000;
const fixed = (value, digits, unit) => (Number.isFinite(value) ? value.toFixed(digits) + unit : "–");

const held = new Set();
let socket = null;
let state = {};
let stateAt = -Infinity;
let seq = 0;
let edgeNumber = 0;
let edges = [];
let edgeAt = -Infinity;
let latched = false;
let side = "";  // the arm that is meant, of a station of several
let tookOverAt = -Infinity;
let shown = 0;
let notice = "";
let noticeAt = -Infinity;
let messageNumber = 0;
let clock = { rtt: Infinity, offset: 0, at: -Infinity };
const views = [];

const isFocused = () => document.hasFocus() && !document.hidden;
const isEngaged = () => isFocused() && (latched || held.has("Space"));
const isMine = () => state.lease === "yours";
const isHuman = () => (state.author?.mode ?? "").startsWith("human");

function packet() {
  const move = [0, 0, 0, 0, 0, 0];
  for (const code of held) (MOVES[code] ?? []).forEach((share, i) => { move[i] += share; });
  const scale = held.has("ShiftLeft") ? FINE : 1;
  edges = edges.filter((edge) => edge.name === "stop" || performance.now() - edge.at < EDGE_LIFE_MS);
  const engaged = isEngaged();
  const wantsControl = engaged || edges.length > 0 || performance.now() - edgeAt < HOLD_AFTER_EDGE_MS || (isMine() && isHuman());
  return { seq: ++seq, sent_s: now(), watching: !document.hidden, wants_control: wantsControl, engaged,
    move: move.map((share) => Math.max(-1, Math.min(1, share)) * scale),
    edges: edges.map((edge) => [edge.number, edge.name]), frame: shown, side };
}

function send() {
  if (socket?.readyState !== WebSocket.OPEN) return;
  if (socket.bufferedAmount > 4096 && !edges.some((edge) => edge.name === "stop")) return;  // latest wins: never queue
  socket.send(JSON.stringify(packet()));
}

function press(name) {
  edges.push({ number: ++edgeNumber, name, at: performance.now() });
  edgeAt = performance.now();
  send();
}

function keyDown(code) {
  if (held.has(code)) return;
  held.add(code);
  if (SIDE_KEYS.includes(code)) chooseSide(SIDE_KEYS.indexOf(code));
  else if (code === "Space" || code === "KeyT") takeOver(code);
  else if (code in EDGES) {
    if (["KeyH", "KeyF", "Escape"].includes(code)) latched = false;
    press(EDGES[code]);
  } else send();
  markKeys();
}

function takeOver(code) {
  if (code === "KeyT" && latched) {
    latched = false;
    send();
    return;
  }
  latched ||= code === "KeyT";
  tookOverAt = performance.now();
  press("take_over");
}

function chooseSide(index) {
  if (index < (state.sides ?? []).length) side = state.sides[index];
  send();
}

function keyUp(code) {
  if (!held.delete(code)) return;
  send();
  markKeys();
}

function releaseAll() {
  held.clear();
  latched = false;
  send();
  markKeys();
}

function markKeys() {
  for (const button of document.querySelectorAll("[data-code]")) {
    button.classList.toggle("down", held.has(button.dataset.code));
    const isChosen = SIDE_KEYS.indexOf(button.dataset.code) === (state.sides ?? [""]).indexOf(side);
    button.classList.toggle("latched", (button.dataset.code === "KeyT" && latched) || isChosen);
  }
}

function listenToKeys() {
  window.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return releaseAll();
    const code = event.code === "ShiftRight" ? "ShiftLeft" : event.code;
    if (!(code in MOVES || code in EDGES || ["Space", "KeyT", "ShiftLeft", ...SIDE_KEYS].includes(code))) return;
    event.preventDefault();
    if (!event.repeat) keyDown(code);
  });
  window.addEventListener("keyup", (event) => keyUp(event.code === "ShiftRight" ? "ShiftLeft" : event.code));
  for (const name of ["blur", "pagehide"]) window.addEventListener(name, releaseAll);
  document.addEventListener("visibilitychange", () => document.hidden && releaseAll());
}

function keyButton(code, key, label) {
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.code = code;
  button.innerHTML = `<kbd>${key}</kbd>${label}`;
  button.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    button.setPointerCapture(event.pointerId);
    keyDown(code);
  });
  for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) button.addEventListener(name, () => keyUp(code));
  button.addEventListener("contextmenu", (event) => event.preventDefault());
  return button;
}

function buildControls() {
  for (const [id, keys] of Object.entries(PANELS)) byId(id).append(...keys.map((key) => keyButton(...key)));
  for (const [name, label] of COMMANDS) {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", id: `command-${name}`, textContent: label });
    button.addEventListener("click", () => { button.blur(); press(name); });
    byId("commands").append(button);
  }
  byId("stop").addEventListener("click", () => press("stop"));
}

function buildViews(cameras) {
  if (views.length === cameras.length) return;
  views.splice(0);
  byId("cameras").replaceChildren(...cameras.map((name) => {
    const figure = document.createElement("figure");
    figure.innerHTML = `<canvas width="640" height="480"></canvas><figcaption><span></span><output>no image yet</output></figcaption>`;
    figure.querySelector("span").textContent = name;
    const canvas = figure.querySelector("canvas");
    canvas.id = `camera-${name}`;
    views.push({ figure, canvas, context: canvas.getContext("2d"), captured: -Infinity, output: figure.querySelector("output") });
    return figure;
  }));
}

function buildSides(sides) {
  if (sides.includes(side) && byId("sides").childElementCount === (sides.length > 1 ? sides.length : 0)) return;
  side = sides[0];
  byId("arms").hidden = sides.length < 2;
  const buttons = sides.map((name, index) => keyButton(SIDE_KEYS[index], `${index + 1}`, name));
  byId("sides").replaceChildren(...(sides.length > 1 ? buttons : []));
  markKeys();
}

async function show(buffer) {
  const head = new DataView(buffer, 0, 16);
  const [number, camera, captured] = [head.getUint32(0, true), head.getUint32(4, true), head.getFloat64(8, true)];
  const view = views[camera];
  try {
    const bitmap = await createImageBitmap(new Blob([new Uint8Array(buffer, 16)], { type: "image/jpeg" }));
    if (view && captured > view.captured) {
      if (view.canvas.width !== bitmap.width) Object.assign(view.canvas, { width: bitmap.width, height: bitmap.height });
      view.context.drawImage(bitmap, 0, 0);
      view.captured = captured;
    }
    bitmap.close();
  } finally {
    shown = Math.max(shown, number);
  }
}

function hear(message) {
  state = message;
  stateAt = now();
  buildViews(state.cameras);
  buildSides(state.sides);
  edges = edges.filter((edge) => edge.number > state.edge);
  const rtt = stateAt - state.echo_s - (state.now_s - state.heard_s);
  if (state.echo_s > 0 && (rtt <= clock.rtt || stateAt - clock.at > 10)) {
    clock = { rtt, offset: state.now_s - (stateAt - rtt / 2), at: stateAt };
  }
  if (state.notice) notify(state.notice);
  if (state.message && state.message[0] !== messageNumber) {
    messageNumber = state.message[0];
    notify(state.message[1]);
  }
  if (latched && !isHuman() && performance.now() - tookOverAt > 700) {
    latched = false;
    notify("The latch is off: you do not drive any more. Press T or hold Space to take over again.");
    markKeys();
  }
}

function notify(text) {
  [notice, noticeAt] = [text, performance.now()];
}

function ownerWords() {
  if (socket?.readyState !== WebSocket.OPEN) return ["none", "Not connected", "trying again; nothing you press reaches the robot"];
  if (now() - stateAt > STALE_S) return ["none", "No news", "the page's node does not answer"];
  const author = state.author;
  if (!author) return ["none", "Waiting", "the arbiter has not spoken yet"];
  const owner = author.mode === "safety" ? "safety" : author.owner;
  const word = owner === "human" && isMine() ? "You drive" : OWNERS[owner] ?? owner;
  const since = fixed(state.owner_s, 1, " s");
  const lease = state.lease === "taken" ? ", another page holds the controls" : "";
  const isIdle = author.owner === "hold" && author.mode === "auto";
  const meaning = isIdle ? "waiting for the policy" : MODES[author.mode]?.[0] ?? author.mode;
  return [owner, word, `${meaning}, ${since}${lease}`];
}

function paint() {
  const [owner, word, note] = ownerWords();
  document.body.dataset.owner = owner;
  const episode = state.episode ?? {};
  const safety = state.safety ?? "";
  const age = now() - stateAt;
  set("owner", word);
  set("owner-note", note);
  set("episode", [episode.phase ?? "–", episode.end_reason && episode.end_reason !== "open" ? episode.end_reason : episode.task].filter(Boolean).join(", "));
  set("clock", episode.phase === "running" ? `${fixed(state.episode_s, 1, " s")}` : "–");
  const clips = state.clips?.length ? `, ${state.clips.join(" ")}` : "";
  set("safety", safety + clips || "–", !["ok", "limited", "holding", ""].includes(safety));
  const arm = Math.max(0, (state.sides ?? []).indexOf(side));
  set("tcp", state.tcp_m ? state.tcp_m.slice(3 * arm, 3 * arm + 3).map((value) => value.toFixed(3)).join("  ") : "–");
  set("gripper", fixed([state.gripper_m].flat()[arm] * 1000, 1, " mm"));
  set("age", `${fixed(age * 1000, 0, "")}, ${fixed(clock.rtt * 1000, 0, " ms")}`, age > STALE_S);
  for (const view of views) {
    const imageAge = now() + clock.offset - view.captured;
    view.figure.classList.toggle("stale", !(imageAge < STALE_S));
    if (Number.isFinite(imageAge)) view.output.textContent = fixed(imageAge * 1000, 0, " ms old");
  }
  const isRunning = ["running", "reset"].includes(episode.phase);
  for (const name of ["start", "demonstrate"]) byId(`command-${name}`).disabled = isRunning;
  byId("command-end").disabled = !isRunning;
  const isNews = performance.now() - noticeAt < 6000;
  set("notice", isNews ? notice : owner === "none" ? "" : MODES[state.author.mode]?.[1] ?? "");
  byId("notice").classList.toggle("news", isNews);
  requestAnimationFrame(paint);
}

function set(id, text, isBad = false) {
  const element = byId(id);
  if (element.textContent !== text) element.textContent = text;
  element.classList.toggle("bad", isBad);
}

function connect() {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const opened = new WebSocket(`${scheme}://${location.host}/control${location.search}`);
  opened.binaryType = "arraybuffer";
  opened.onopen = () => {
    [socket, shown, latched] = [opened, 0, false];
    edges = edges.filter((edge) => edge.name === "stop");
    clock = { rtt: Infinity, offset: 0, at: -Infinity };
    for (const view of views) view.captured = -Infinity;
  };
  opened.onmessage = ({ data }) => (typeof data === "string" ? hear(JSON.parse(data)) : show(data));
  opened.onclose = () => setTimeout(connect, 1000);
}

buildControls();
listenToKeys();
connect();
let beat = 0;
setInterval(() => { if (++beat % 2 === 0 || isMine() || isEngaged()) send(); }, 50);
requestAnimationFrame(paint);
