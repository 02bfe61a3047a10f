// What the person asks of the arm, whichever device it comes from: keys, pads, gamepad, a hand in space. A device that owns is the
// dead-man; when the window loses the focus or the tab is hidden, all of them let go.

export const MOVES = {
  KeyW: [1, 0, 0], KeyS: [-1, 0, 0], KeyA: [0, 1, 0], KeyD: [0, -1, 0], KeyE: [0, 0, 1], KeyQ: [0, 0, -1],
  ArrowUp: [1, 0, 0], ArrowDown: [-1, 0, 0], ArrowLeft: [0, 1, 0], ArrowRight: [0, -1, 0], PageUp: [0, 0, 1], PageDown: [0, 0, -1],
};
export const TURNS = {
  KeyL: [1, 0, 0], KeyJ: [-1, 0, 0], KeyK: [0, 1, 0], KeyI: [0, -1, 0], KeyU: [0, 0, 1], KeyO: [0, 0, -1],
};
export const EDGES = {
  KeyG: "gripper", KeyH: "hand_back", KeyF: "freeze", KeyY: "success", KeyN: "failure", KeyX: "discard",
  KeyC: "correction", KeyB: "recovery", KeyM: "went_wrong", KeyP: "rerecord", KeyZ: "undo", Escape: "stop",
};
export const SIDE_KEYS = ["Digit1", "Digit2", "Digit3", "Digit4"];
const OWNS = ["Space", "KeyR"];  // held down they drive: by hand, or back along the way
const FINE = 0.25;
const AXES = 3;

export const KNOWN = (code) => code in MOVES || code in TURNS || code in EDGES || OWNS.includes(code)
  || ["KeyT", "KeyV", "ShiftLeft", ...SIDE_KEYS].includes(code);

export class Drive {
  constructor(press, send, changed) {
    [this.press, this.send, this.changed] = [press, send, changed];
    this.held = new Set();      // codes of keys, and of buttons that stand for them
    this.devices = new Map();   // pads, gamepads and hands that say something now: {owns, move, fine, rewinds, hand, clutch}
    this.isImmersed = () => false;  // in a visible session of WebXR, which has the input, whatever window has the focus
    this.latched = false;
    this.tookOverAt = -Infinity;
    this.sides = [""];
    this.side = "";             // the arm that is meant, of a station of several
    this.frames = ["cell"];
    this.frame = "cell";
    this.fine = false;
    this.locked = [false, false, false];  // forward, left, up
  }

  get isFocused() { return this.isImmersed() || (document.hasFocus() && !document.hidden); }
  get isEngaged() {
    const holds = this.latched || OWNS.some((code) => this.held.has(code));
    return this.isFocused && (holds || [...this.devices.values()].some((device) => device.owns));
  }
  get rewinds() { return this.held.has("KeyR") || [...this.devices.values()].some((device) => device.rewinds); }
  get isFine() { return this.fine || this.held.has("ShiftLeft") || [...this.devices.values()].some((device) => device.fine); }

  get hand() { return [...this.devices.values()].find((device) => device.hand) ?? { hand: null, clutch: 0 }; }

  get move() {
    const move = [0, 0, 0, 0, 0, 0];
    for (const code of this.held) {
      (MOVES[code] ?? []).forEach((share, axis) => { move[axis] += share; });
      (TURNS[code] ?? []).forEach((share, axis) => { move[AXES + axis] += share; });
    }
    for (const device of this.devices.values()) device.move.forEach((share, axis) => { move[axis] += share; });
    const scale = this.isFine ? FINE : 1;
    return move.map((share, axis) => (this.locked[axis] ? 0 : Math.max(-1, Math.min(1, share)) * scale));
  }

  keyDown(code) {
    if (this.held.has(code)) return;
    this.held.add(code);
    if (SIDE_KEYS.includes(code)) this.chooseSide(SIDE_KEYS.indexOf(code));
    else if (code === "KeyV") this.chooseFrame(this.frames[(this.frames.indexOf(this.frame) + 1) % this.frames.length]);
    else if (code === "KeyT") this.toggleLatch();
    else if (OWNS.includes(code)) this.takeOver();
    else if (code in EDGES) this.edge(EDGES[code]);
    else this.send();
    this.changed();
  }

  keyUp(code) {
    if (!this.held.delete(code)) return;
    this.send();
    this.changed();
  }

  edge(name) {
    if (["hand_back", "freeze", "stop"].includes(name)) this.latched = false;
    this.press(name);
    this.changed();
  }

  takeOver() {
    this.tookOverAt = performance.now();
    this.press("take_over");
  }

  toggleLatch() {
    this.latched = !this.latched;
    if (this.latched) this.takeOver();
    else this.send();
  }

  // What a pad or gamepad says now; null when it says nothing. Beginning to own takes over.
  say(name, device) {
    const owned = this.devices.get(name)?.owns ?? false;
    if (device) this.devices.set(name, device);
    else if (!this.devices.delete(name)) return;
    if (device?.owns && !owned) this.takeOver();
    else this.send();
    this.changed();
  }

  chooseSide(index) {
    if (index < this.sides.length) this.side = this.sides[index];
    this.send();
  }

  chooseFrame(frame) {
    this.frame = frame;
    this.send();
    this.changed();
  }

  releaseAll() {
    this.held.clear();
    this.devices.clear();
    this.latched = false;
    this.send();
    this.changed();
  }
}
