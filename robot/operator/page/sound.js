// A short tone whenever the arm changes hands: up when a person takes it, down when the policy does, low when it stops.

const TONES = { human: [520, 780], policy: [780, 520], shared: [660, 660], hold: [400, 340], safety: [220, 160] };
const LENGTH_S = 0.12;

export class Sound {
  constructor() {
    this.isOn = true;
    this.owner = "";
    this.played = 0;
    this.audio = new AudioContext();  // now: to make one takes long enough for the arm to hold, were it at a takeover
  }

  hear(owner) {
    if (owner === this.owner) return;
    const isFirst = this.owner === "";
    this.owner = owner;
    if (!isFirst && this.isOn && TONES[owner]) this.play(TONES[owner]);
  }

  play([from, to]) {
    this.played += 1;
    // Browsers keep a page silent until somebody has touched it, which an operator has by the first takeover.
    if (!navigator.userActivation?.hasBeenActive) return;
    if (this.audio.state === "suspended") this.audio.resume();
    const [tone, level, start] = [this.audio.createOscillator(), this.audio.createGain(), this.audio.currentTime];
    tone.frequency.setValueAtTime(from, start);
    tone.frequency.linearRampToValueAtTime(to, start + LENGTH_S);
    level.gain.setValueAtTime(0.15, start);
    level.gain.linearRampToValueAtTime(0, start + LENGTH_S);
    tone.connect(level).connect(this.audio.destination);
    tone.start(start);
    tone.stop(start + LENGTH_S);
  }
}
