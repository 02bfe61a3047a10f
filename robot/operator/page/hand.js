// A hand in space through WebXR: a headset's controller, or a phone that is moved about. While a controller is squeezed,
// a phone touched, it is the dead-man, and the tool goes and turns as the hand has since. Forward is where the person
// looked when they pressed. Tracking that is lost or jumps lets go until the next press.

const MODES = ["immersive-ar", "immersive-vr"];
const SAY_EVERY_MS = 25;
const JUMP_M = 0.05;                // from one sample to the next
const JUMP_RAD = (10 * Math.PI) / 180;
const LEVEL = 0.3;                  // who looks down more steeply than this has forward where the top of the view is

const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const vector = ({ x, y, z }) => [x, y, z];

// A direction of the view turned into the world: q v q*.
function turned({ x, y, z, w }, v) {
  const t = [2 * (y * v[2] - z * v[1]), 2 * (z * v[0] - x * v[2]), 2 * (x * v[1] - y * v[0])];
  return [v[0] + w * t[0] + y * t[2] - z * t[1], v[1] + w * t[1] + z * t[0] - x * t[2], v[2] + w * t[2] + x * t[1] - y * t[0]];
}

// Forward, left and up of a person, level, in WebXR's axes (right, up, back).
export function bearings(view) {
  const ahead = turned(view.orientation, [0, 0, -1]);
  const [x, , z] = Math.hypot(ahead[0], ahead[2]) >= LEVEL ? ahead : turned(view.orientation, [0, 1, 0]);
  const length = Math.hypot(x, z) || 1;
  return [[x / length, 0, z / length], [z / length, 0, -x / length], [0, 1, 0]];
}

// A pose in these bearings: x y z, then w x y z.
export function along(axes, { position, orientation }) {
  return [...axes.map((axis) => dot(axis, vector(position))), orientation.w, ...axes.map((axis) => dot(axis, vector(orientation)))];
}

const angle = (a, b) => 2 * Math.acos(Math.min(1, Math.abs(a.slice(3).reduce((sum, part, index) => sum + part * b[3 + index], 0))));
const jumped = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]) > JUMP_M || angle(a, b) > JUMP_RAD;

export class Hand {
  constructor(drive, notify) {
    [this.drive, this.notify] = [drive, notify];
    [this.mode, this.session, this.places] = ["", null, null];
    [this.source, this.axes, this.last] = [null, null, null];  // who pressed, their bearings, the newest pose
    [this.clutch, this.saidAt] = [0, -Infinity];
    drive.isImmersed = () => this.isVisible;
  }

  get isVisible() { return this.session?.visibilityState === "visible"; }

  async find() {
    for (const mode of MODES) if (!this.mode && (await navigator.xr?.isSessionSupported(mode).catch(() => false))) this.mode = mode;
    return this.mode !== "";
  }

  async toggle() {
    if (this.session) return this.session.end();
    try {
      await this.begin();
    } catch (error) {
      this.notify(`No hand in space: ${error.message}`);
    }
  }

  async begin() {
    const session = await navigator.xr.requestSession(this.mode, { optionalFeatures: ["dom-overlay"], domOverlay: { root: document.body } });
    session.addEventListener("end", () => { this.session = null; this.letGoOfAll(); });
    session.addEventListener("visibilitychange", () => this.isVisible || this.letGoOfAll());
    session.addEventListener("selectstart", ({ inputSource }) => (inputSource.gripSpace ? this.drive.edge("gripper") : this.press(inputSource)));
    session.addEventListener("squeezestart", ({ inputSource }) => this.press(inputSource));
    for (const name of ["selectend", "squeezeend"]) {
      session.addEventListener(name, ({ inputSource }) => inputSource === this.source && (name === "squeezeend" || !inputSource.gripSpace) && this.letGo());
    }
    try {
      const canvas = document.createElement("canvas");
      const gl = canvas.getContext("webgl", { xrCompatible: true });
      await session.updateRenderState({ baseLayer: new XRWebGLLayer(session, gl) });  // nothing is drawn, but it has to be there
      this.places = { world: await session.requestReferenceSpace("local"), view: await session.requestReferenceSpace("viewer") };
    } catch (error) {
      await session.end();
      throw error;
    }
    this.session = session;
    const next = (_, frame) => { session.requestAnimationFrame(next); this.follow(frame); };
    session.requestAnimationFrame(next);
  }

  press(source) {
    [this.source, this.axes, this.last] = [source, null, null];
    this.clutch += 1;
  }

  letGo() {
    [this.source, this.last] = [null, null];
    this.drive.say("hand", null);
  }

  // A headset that is taken off is a window that has lost the focus: a latch ends too.
  letGoOfAll() {
    [this.source, this.last] = [null, null];
    this.drive.releaseAll();
  }

  follow(frame) {
    if (!this.source || !this.isVisible) return;
    const view = frame.getViewerPose(this.places.world);
    const pose = frame.getPose(this.source.gripSpace ?? this.places.view, this.places.world);
    if (!view || !pose || pose.emulatedPosition) return this.lose("the hand's tracking was lost");
    this.axes ??= bearings(view.transform);
    const hand = along(this.axes, pose.transform);
    if (this.last && jumped(this.last, hand)) return this.lose("the hand's tracking jumped");
    this.last = hand;
    if (performance.now() - this.saidAt < SAY_EVERY_MS) return;
    this.saidAt = performance.now();
    this.drive.say("hand", { owns: true, move: [0, 0, 0, 0, 0, 0], hand, clutch: this.clutch });
  }

  lose(why) {
    this.letGo();
    this.notify(`${why}: let go and press again`);
  }
}
