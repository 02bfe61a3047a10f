// The keyboard, and the buttons on the page that stand for its keys: mouse and fingers hold them down as keys are held.
import { KNOWN, SIDE_KEYS } from "./drive.js";

const alike = (code) => (code === "ShiftRight" ? "ShiftLeft" : code);
const isTyping = (target) => ["INPUT", "SELECT", "TEXTAREA"].includes(target?.tagName);

export function listenToKeys(drive) {
  window.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return drive.releaseAll();
    const code = alike(event.code);
    if (!KNOWN(code) || (isTyping(event.target) && code !== "Escape")) return;
    event.preventDefault();
    if (!event.repeat) drive.keyDown(code);
  });
  window.addEventListener("keyup", (event) => drive.keyUp(alike(event.code)));
  for (const name of ["blur", "pagehide"]) window.addEventListener(name, () => drive.releaseAll());
  document.addEventListener("visibilitychange", () => document.hidden && drive.releaseAll());
}

export function keyButton(drive, code, key, label) {
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.code = code;
  button.innerHTML = `<kbd>${key}</kbd><span></span>`;
  button.querySelector("span").textContent = label;
  button.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    button.setPointerCapture(event.pointerId);
    drive.keyDown(code);
  });
  for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) button.addEventListener(name, () => drive.keyUp(code));
  button.addEventListener("contextmenu", (event) => event.preventDefault());
  return button;
}

export function markKeys(drive) {
  for (const button of document.querySelectorAll("[data-code]")) {
    const code = button.dataset.code;
    const isChosen = SIDE_KEYS.includes(code) && SIDE_KEYS.indexOf(code) === drive.sides.indexOf(drive.side);
    button.classList.toggle("down", drive.held.has(code));
    button.classList.toggle("latched", isChosen || (code === "KeyT" && drive.latched));
  }
}
