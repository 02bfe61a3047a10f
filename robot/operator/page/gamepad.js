// A gamepad through the browser, in the standard layout. The right trigger is the dead-man: the sticks do nothing without.

const OWN = 7;
const FINE = 6;
const REWIND = 12;
const PRESSED = 0.5;
const RELEASED = 0.3;  // a trigger that trembles around one threshold would take over again and again
const DEAD = 0.1;
const EDGES = { 0: "gripper", 1: "freeze", 2: "correction", 3: "success", 4: "undo", 5: "hand_back", 8: "stop",
  9: "rerecord", 13: "failure", 14: "discard", 15: "went_wrong" };
export const LEGEND = [
  ["RT", "hold to own"], ["left stick", "forward, left"], ["right stick", "up, turn"], ["LT", "fine"], ["A", "gripper"],
  ["RB", "hand back"], ["B", "freeze"], ["X", "correct"], ["Y", "success"], ["▼", "failure"], ["◀", "discard"], ["▶", "went wrong"],
  ["LB", "undo"], ["▲", "rewind, held"], ["Start", "re-record"], ["Back", "software stop"],
];

const value = (pad, index) => pad.buttons[index]?.value ?? 0;
const shaped = (share = 0) => Math.sign(share) * Math.max(0, (Math.abs(share) - DEAD) / (1 - DEAD));

export class Gamepads {
  constructor(drive) {
    this.drive = drive;
    this.pressed = new Set();
    this.owns = false;
    this.name = "";
  }

  // Read the first gamepad there is; called as often as packets go out.
  poll() {
    const pad = [...(navigator.getGamepads?.() ?? [])].find((found) => found?.connected);
    this.name = pad?.id ?? "";
    if (!pad || !this.drive.isFocused) {
      this.owns = false;
      this.pressed.clear();
      this.drive.say("gamepad", null);
      return;
    }
    this.owns = value(pad, OWN) > (this.owns ? RELEASED : PRESSED);
    const rewinds = value(pad, REWIND) > PRESSED;
    const [x, y, turn, rise] = pad.axes;
    const move = [shaped(-y), shaped(-x), shaped(-rise), 0, 0, shaped(-turn)].map((share) => share + 0);
    const says = this.owns || rewinds ? { owns: true, rewinds, fine: value(pad, FINE) > PRESSED, move } : null;
    this.drive.say("gamepad", says);
    for (const [index, name] of Object.entries(EDGES)) this.note(name, value(pad, Number(index)) > PRESSED);
  }

  note(name, isDown) {
    if (isDown && !this.pressed.has(name)) this.drive.edge(name);
    if (isDown) this.pressed.add(name);
    else this.pressed.delete(name);
  }
}
