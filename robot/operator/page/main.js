// The operator page: wires its parts. It sends its whole state 20 times a second while it steers, 10 otherwise, and
// redraws with the screen.
import { ask } from "./ask.js";
import { Cameras } from "./cameras.js";
import { Drive } from "./drive.js";
import { Episodes } from "./episodes.js";
import { Gamepads, LEGEND } from "./gamepad.js";
import { Hand } from "./hand.js";
import { HeadsUp } from "./heads_up.js";
import { keyButton, listenToKeys, markKeys } from "./keys.js";
import { Learning } from "./learning.js";
import { buildPads } from "./pads.js";
import { Trace } from "./plot.js";
import { Scene3d } from "./scene3d.js";
import { Sound } from "./sound.js";
import { now, Transport } from "./transport.js";

const PERIOD_MS = 50;
const LATCH_LOST_MS = 700;  // a latch that did not bring control within this is off
const AID_EVERY_MS = 15000;
const SEALED_MS = [1500, 5000];  // after an episode has ended it is in the store, on a busy machine later
const PAINT_MS = 40;
const OWNER_COLOURS = { policy: "#4c9bff", human: "#ffb24d", shared: "#35c6b4", safety: "#ff5a66", hold: "#8791a0",
  reset: "#b18cff", none: "#5a6472" };
const PANELS = {
  drive: [["KeyQ", "Q", "down"], ["KeyW", "W", "forward"], ["KeyE", "E", "up"], ["KeyA", "A", "left"], ["KeyS", "S", "back"],
    ["KeyD", "D", "right"], ["Space", "Space", "hold to drive"], ["KeyT", "T", "latch"], ["KeyG", "G", "gripper"],
    ["KeyR", "R", "rewind, held"]],
  turns: [["KeyJ", "J", "roll left"], ["KeyI", "I", "nose up"], ["KeyL", "L", "roll right"], ["KeyU", "U", "turn left"],
    ["KeyK", "K", "nose down"], ["KeyO", "O", "turn right"]],
  control: [["KeyH", "H", "hand back"], ["KeyF", "F", "freeze"]],
  mark: [["KeyY", "Y", "success"], ["KeyN", "N", "failure"], ["KeyX", "X", "discard"], ["KeyC", "C", "correct"], ["KeyB", "B", "recover"],
    ["KeyP", "P", "re-record"], ["KeyM", "M", "went wrong"], ["KeyZ", "Z", "undo label"]],
};
const COMMANDS = [["start", "Policy runs"], ["demonstrate", "I drive"], ["end", "End"], ["reset", "Reset stop"]];
const LOCKS = ["forward", "left", "up"];
const FRAME_NAMES = { cell: "cell", tool: "tool", camera: "picture" };

const byId = (id) => document.getElementById(id);
const drive = new Drive((name) => transport.press(name), () => transport.send(), () => markAll());
const cameras = new Cameras(byId("cameras"));
const gamepads = new Gamepads(drive);
const scene = new Scene3d(byId("scene3d"));
const replayScene = new Scene3d(byId("replay3d"));
const sound = new Sound();
const trace = new Trace(byId("trace"), byId("trace-words"));
const learning = new Learning(byId("curve"), byId("curve-words"), byId("curve-run"));
const transport = new Transport(intent, { hello, state: hear, image: (buffer) => cameras.show(buffer), opened: () => { drive.latched = false; } });
const headsUp = new HeadsUp(transport, drive);
const hand = new Hand(drive, (text) => headsUp.notify(text));
const episodes = new Episodes(byId("episodes"), (text) => headsUp.notify(text));

function intent() {
  const engaged = drive.isEngaged;
  const wantsControl = engaged || transport.hasRecentEdge || (headsUp.isMine && headsUp.isHuman);
  return { watching: !document.hidden, wantsControl, engaged, rewinds: engaged && drive.rewinds, move: drive.move,
    fine: drive.isFine, ...drive.hand, side: drive.side, frame: drive.frame, shown: cameras.shown };
}

function hello(facts) {
  drive.sides = facts.sides;
  if (!facts.sides.includes(drive.side)) drive.side = facts.sides[0];
  drive.frames = facts.frames.filter((frame) => frame !== "camera" || facts.camera_frame);
  cameras.build(facts.cameras);
  buildSides(facts.sides);
  byId("turning").hidden = !facts.turns;
  byId("frames").replaceChildren(...drive.frames.map((frame) => choice(`frame-${frame}`, FRAME_NAMES[frame], () => drive.chooseFrame(frame))));
  refreshAid();
  markAll();
}

function hear(state) {
  headsUp.hear(state);
  scene.note(state.tcp_m);
  trace.note(now(), state.policy?.said);
  if (state.episode?.phase === "ended" && phase === "running") for (const after of SEALED_MS) setTimeout(() => episodes.refreshIfShown(), after);
  phase = state.episode?.phase;
  if (drive.latched && !headsUp.isHuman && performance.now() - drive.tookOverAt > LATCH_LOST_MS) {
    drive.latched = false;
    headsUp.notify("The latch is off: you do not drive any more. Press T or hold Space to take over again.");
    markAll();
  }
}

async function refreshAid() {
  const aid = await ask("aid");
  cameras.aid = aid.error || !aid.cells.length ? null : aid;
  byId("aid").disabled = !cameras.aid;
}

function choice(id, label, chosen) {
  const button = document.createElement("button");
  Object.assign(button, { type: "button", id, textContent: label });
  button.addEventListener("click", () => { button.blur(); chosen(); });
  return button;
}

function buildSides(sides) {
  byId("arms").hidden = sides.length < 2;
  const buttons = sides.map((name, index) => keyButton(drive, `Digit${index + 1}`, `${index + 1}`, name));
  byId("sides").replaceChildren(...(sides.length > 1 ? buttons : []));
}

function buildControls() {
  for (const [id, keys] of Object.entries(PANELS)) byId(id).append(...keys.map((key) => keyButton(drive, ...key)));
  for (const [name, label] of COMMANDS) byId("commands").append(choice(`command-${name}`, label, () => transport.press(name)));
  byId("stop").addEventListener("click", () => transport.press("stop"));
  byId("speed").append(choice("coarse", "coarse", () => { drive.fine = false; markAll(); }), choice("fine", "fine", () => { drive.fine = true; markAll(); }));
  byId("locks").append(...LOCKS.map((name, axis) => choice(`lock-${name}`, name, () => { drive.locked[axis] = !drive.locked[axis]; markAll(); })));
  byId("aid").addEventListener("click", () => { byId("aid").blur(); cameras.isAided = !cameras.isAided; markAll(); });
  byId("sound").addEventListener("click", () => { byId("sound").blur(); sound.isOn = !sound.isOn; markAll(); });
  for (const tab of document.querySelectorAll("[data-panel]")) tab.addEventListener("click", () => { tab.blur(); showPanel(tab.dataset.panel); });
  byId("legend").append(...LEGEND.map(([button, what]) => {
    const item = document.createElement("span");
    item.append(Object.assign(document.createElement("kbd"), { textContent: button }), what);
    return item;
  }));
  byId("hand").addEventListener("click", () => { byId("hand").blur(); hand.toggle(); });
  hand.find().then((isThere) => { byId("hand").hidden = !isThere; });
  buildPads(drive, byId("plane"), byId("strip"));
}

function showPanel(name) {
  for (const tab of document.querySelectorAll("[data-panel]")) {
    tab.setAttribute("aria-selected", String(tab.dataset.panel === name));
    byId(tab.dataset.panel).hidden = tab.dataset.panel !== name;
  }
  if (name === "episodes") episodes.refresh();
  if (name === "learning") learning.refresh();
}

function markAll() {
  markKeys(drive);
  for (const [id, isOn] of [["fine", drive.isFine], ["coarse", !drive.isFine], ["aid", cameras.isAided], ["sound", sound.isOn],
    ...LOCKS.map((name, axis) => [`lock-${name}`, drive.locked[axis]]), ...drive.frames.map((frame) => [`frame-${frame}`, drive.frame === frame])]) {
    byId(id)?.classList.toggle("latched", isOn);
    byId(id)?.setAttribute("aria-pressed", String(isOn));
  }
}

function paint() {
  requestAnimationFrame(paint);
  if (performance.now() - paintedAt < PAINT_MS) return;  // steering comes first where the machine draws slowly
  paintedAt = performance.now();
  paints += 1;
  const owner = headsUp.paint();
  sound.hear(owner);
  const { state } = transport;
  cameras.paint(transport.clock.offset, state.familiar);
  const replayed = episodes.paint(now());
  if (paints % 2 === 0) {
    if (!byId("look").hidden) scene.paint(state.figure, state.familiar?.ghost, OWNER_COLOURS[owner]);
    if (replayed) replayScene.paint(replayed, null, OWNER_COLOURS.none);
    trace.paint(now(), Boolean(state.policy));
  }
  byId("gamepad").classList.toggle("there", gamepads.name !== "");
  byId("hand").textContent = hand.session ? "Put the hand away" : "Drive by hand (WebXR)";
  byId("gamepad-name").textContent = gamepads.name ? (gamepads.owns ? "owns the arm"
    : drive.isFocused ? "connected: hold RT to own" : "connected: click the page first") : "none; press a button on it to connect";
}

buildControls();
listenToKeys(drive);
showPanel("look");
markAll();
let [beat, paints, paintedAt, phase] = [0, 0, -Infinity, ""];
setInterval(() => {
  gamepads.poll();
  if (!gamepads.owns && (++beat % 2 === 0 || headsUp.isMine || drive.isEngaged)) transport.send();
}, PERIOD_MS);
setInterval(refreshAid, AID_EVERY_MS);
requestAnimationFrame(paint);

// For the browser's console and the tests.
globalThis.tandem = { cameras, drive, episodes, gamepads, hand, headsUp, learning, scene, sound, trace, transport, now };
