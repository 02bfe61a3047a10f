// Jogging by mouse or finger: a pad for forward and left, a strip for up. While a pad is pressed it owns the arm; how far
// from its middle says how fast.

const DEAD = 0.08;  // of the half width, around the middle

const shaped = (share) => {
  const size = Math.min(1, Math.max(0, (Math.abs(share) - DEAD) / (1 - DEAD)));
  return Math.sign(share) * size;
};

export function buildPads(drive, plane, strip) {
  bind(drive, plane, "plane", (x, y) => [shaped(-y), shaped(-x), 0, 0, 0, 0]);
  bind(drive, strip, "strip", (_, y) => [0, 0, shaped(-y), 0, 0, 0]);
}

function bind(drive, element, name, toMove) {
  const knob = element.querySelector("i");
  const follow = (event) => {
    const box = element.getBoundingClientRect();
    const x = Math.max(-1, Math.min(1, (2 * (event.clientX - box.left)) / box.width - 1));
    const y = Math.max(-1, Math.min(1, (2 * (event.clientY - box.top)) / box.height - 1));
    knob.style.transform = `translate(${name === "plane" ? (x * box.width) / 2 : 0}px, ${(y * box.height) / 2}px)`;
    drive.say(name, { owns: true, move: toMove(x, y) });
  };
  element.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    element.setPointerCapture(event.pointerId);
    element.classList.add("down");
    follow(event);
  });
  element.addEventListener("pointermove", (event) => element.classList.contains("down") && follow(event));
  for (const kind of ["pointerup", "pointercancel", "lostpointercapture"]) {
    element.addEventListener(kind, () => {
      element.classList.remove("down");
      knob.style.transform = "";
      drive.say(name, null);
    });
  }
  element.addEventListener("contextmenu", (event) => event.preventDefault());
}
