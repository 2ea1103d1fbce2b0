// The connection to the server: a WebSocket, or server-sent events where those do not get through.
//
// Owns reconnecting and its pauses, and the state that the page shows. Passes each frame on as an object. Knows no
// panel.

/** Milliseconds without a frame after which what is shown is old. */
const STALE = 3000;
/** Pauses between attempts, in milliseconds; the last one repeats. */
const PAUSES = [250, 500, 1000, 2000, 4000, 8000];
/** WebSockets that brought no frame, one after the other, before server-sent events are tried. */
const ATTEMPTS = 3;
/** Milliseconds for an attempt to open. */
const OPENING = 8000;

export class Link {
  #frame;
  #state;
  #attempt = 0;
  #failed = 0;
  #socket = null;
  #events = null;
  #last = 0;
  #shown = "";
  #timer = 0;
  #guard = 0;

  /** `frame` gets each frame; `state` gets "connecting", "live", "stale" or "reconnecting", and a text. */
  constructor(frame, state) {
    this.#frame = frame;
    this.#state = state;
    setInterval(() => this.#watchdog(), 500);
    // A machine that wakes, or a network that is back, is not kept waiting.
    addEventListener("online", () => this.#hurry());
    document.addEventListener("visibilitychange", () => document.hidden || this.#hurry());
    this.#open();
  }

  /** Sends a request; false where the connection has no way back. */
  send(request) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(request));
    return true;
  }

  /** Whether requests can be sent, once connected. */
  get isTwoWay() {
    return this.#events === null;
  }

  #show(state, text) {
    if (this.#shown === state + text) return;
    this.#shown = state + text;
    this.#state(state, text);
  }

  #open() {
    clearTimeout(this.#timer);
    this.#close();
    if (this.#attempt === 0) this.#show("connecting", "connecting");
    const url = new URL(this.#failed >= ATTEMPTS ? "events" : "ws", location.href);
    // One attempt in four tries the WebSocket again.
    if (this.#failed >= ATTEMPTS && this.#failed % 4 !== 3) {
      this.#openEvents(url);
      return;
    }
    url.pathname = url.pathname.replace(/events$/, "ws");
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    url.hash = "";
    const socket = new WebSocket(url);
    let opened = false;
    this.#socket = socket;
    this.#guard = setTimeout(() => socket.readyState === WebSocket.CONNECTING && socket.close(), OPENING);
    socket.onmessage = (message) => {
      // Not before: a proxy may open a WebSocket and close it again.
      opened = true;
      this.#failed = 0;
      this.#receive(message.data);
    };
    socket.onclose = () => {
      if (this.#socket !== socket) return;
      this.#socket = null;
      if (!opened) this.#failed += 1;
      this.#retry();
    };
  }

  #openEvents(url) {
    const events = new EventSource(url);
    this.#events = events;
    events.onmessage = (message) => this.#receive(message.data);
    events.onerror = () => {
      if (this.#events !== events) return;
      this.#close();
      this.#failed += 1;
      this.#retry();
    };
  }

  #close() {
    clearTimeout(this.#guard);
    const [socket, events] = [this.#socket, this.#events];
    this.#socket = this.#events = null;
    socket?.close();
    events?.close();
  }

  #receive(text) {
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return;
    }
    this.#last = performance.now();
    this.#attempt = 0;
    if (frame.type === "hello" || frame.type === "sample") this.#show("live", "live");
    this.#frame(frame);
  }

  #retry() {
    const pause = PAUSES[Math.min(this.#attempt, PAUSES.length - 1)];
    this.#attempt += 1;
    // A spread keeps the pages that one server lost from coming back together.
    this.#timer = setTimeout(() => this.#open(), pause * (0.75 + Math.random() / 2));
    this.#watchdog();
  }

  #hurry() {
    if (this.#socket === null && this.#events === null && this.#attempt > 0) this.#open();
  }

  #watchdog() {
    if (this.#last === 0) {
      if (this.#attempt > 0) this.#show("reconnecting", "no connection, trying again");
      return;
    }
    const silent = performance.now() - this.#last;
    const connected = this.#socket?.readyState === WebSocket.OPEN || this.#events !== null;
    if (silent < STALE) {
      if (!connected) this.#show("reconnecting", "reconnecting");
      return;
    }
    const since = `${Math.floor(silent / 1000)} s`;
    this.#show("stale", connected ? `stale, ${since} old` : `stale, ${since} old; reconnecting`);
    // A peer that vanished without a word: the browser would wait for minutes.
    if (connected && silent > 5 * STALE) {
      this.#close();
      this.#retry();
    }
  }
}
