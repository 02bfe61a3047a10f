// The socket: up goes the page's whole state as one binary packet (robot/operator/wire.py has the layout), down come a
// greeting, states and images. The newest wins and nothing is queued. What happens once, an edge, is repeated until the
// server has acknowledged its number.

const HEAD_BYTES = 85;
const EDGE_BYTES = 5;
const VERSION = 2;
const MAX_EDGES = 16;
const NO_SIDE = 255;
const EDGE_LIFE_MS = 1000;       // an edge nobody acknowledged is dropped then, except a stop
const HOLD_AFTER_EDGE_MS = 600;  // the lease outlives an edge by this, so that the robot can answer
const FULL_BYTES = 4096;         // more is waiting in the socket: this packet would be late, leave it out

export const now = () => performance.now() / 1000;

export class Transport {
  // `heard` has functions hello(facts), state(message), image(buffer), opened(); `intent()` returns what to send.
  constructor(intent, heard) {
    [this.intent, this.heard] = [intent, heard];
    this.socket = null;
    this.hello = null;
    this.state = {};
    this.stateAt = -Infinity;
    this.clock = { rtt: Infinity, offset: 0, at: -Infinity };  // the server's clock less this page's
    this.seq = 0;
    this.edges = [];
    this.edgeNumber = 0;
    this.edgeAt = -Infinity;
    this.connect();
  }

  get isOpen() { return this.socket?.readyState === WebSocket.OPEN && this.hello !== null; }

  get hasRecentEdge() { return this.edges.length > 0 || performance.now() - this.edgeAt < HOLD_AFTER_EDGE_MS; }

  press(name) {
    this.edges.push({ number: ++this.edgeNumber, name, at: performance.now() });
    this.edgeAt = performance.now();
    this.send();
  }

  send() {
    if (!this.isOpen) return;
    this.edges = this.edges.filter((edge) => edge.name === "stop" || performance.now() - edge.at < EDGE_LIFE_MS);
    if (this.socket.bufferedAmount > FULL_BYTES && !this.edges.some((edge) => edge.name === "stop")) return;
    this.socket.send(this.pack(this.intent()));
  }

  pack(intent) {
    const edges = this.edges.slice(-MAX_EDGES);
    const view = new DataView(new ArrayBuffer(HEAD_BYTES + EDGE_BYTES * edges.length));
    const flags = [intent.watching, intent.wantsControl, intent.engaged, intent.rewinds, intent.fine, intent.hand];
    const side = this.hello.sides.indexOf(intent.side);
    view.setUint8(0, VERSION);
    view.setUint8(1, flags.reduce((sum, flag, bit) => sum | (flag ? 1 << bit : 0), 0));
    view.setUint8(2, side < 0 ? NO_SIDE : side);
    view.setUint8(3, this.hello.frames.indexOf(intent.frame));
    view.setUint32(4, ++this.seq, true);
    view.setBigUint64(8, BigInt(this.hello.key), true);
    view.setFloat64(16, now(), true);
    view.setUint32(24, intent.shown, true);
    intent.move.forEach((share, axis) => view.setFloat32(28 + 4 * axis, share, true));
    view.setUint32(52, intent.clutch, true);
    (intent.hand ?? []).forEach((number, index) => view.setFloat32(56 + 4 * index, number, true));
    view.setUint8(84, edges.length);
    edges.forEach((edge, index) => {
      view.setUint32(HEAD_BYTES + EDGE_BYTES * index, edge.number, true);
      view.setUint8(HEAD_BYTES + EDGE_BYTES * index + 4, this.hello.edges.indexOf(edge.name));
    });
    return view.buffer;
  }

  connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const opened = new WebSocket(`${scheme}://${location.host}/control${location.search}`);
    opened.binaryType = "arraybuffer";
    opened.onopen = () => {
      [this.socket, this.hello, this.seq] = [opened, null, 0];
      this.edges = this.edges.filter((edge) => edge.name === "stop");
      this.clock = { rtt: Infinity, offset: 0, at: -Infinity };
      this.heard.opened();
    };
    opened.onmessage = ({ data }) => (typeof data === "string" ? this.hear(JSON.parse(data)) : this.heard.image(data));
    opened.onclose = () => setTimeout(() => this.connect(), 1000);
  }

  hear(message) {
    if (message.hello) {
      this.hello = message.hello;
      this.heard.hello(message.hello);
      return;
    }
    [this.state, this.stateAt] = [message, now()];
    this.edges = this.edges.filter((edge) => edge.number > message.edge);
    const rtt = this.stateAt - message.echo_s - (message.now_s - message.heard_s);
    if (message.echo_s > 0 && (rtt <= this.clock.rtt || this.stateAt - this.clock.at > 10)) {
      this.clock = { rtt, offset: message.now_s - (this.stateAt - rtt / 2), at: this.stateAt };
    }
    this.heard.state(message);
  }
}
