// Messages and bytes a second, over the last few seconds, and a minute of them as bars.

const SECONDS = 60, OVER_S = 5;

export class Rate {
  constructor({ canvas, messages, bytes, seen }) {
    Object.assign(this, { canvas, messages, bytes, seenHere: seen });
    this.reset();
    setInterval(() => this.#tick(), 1_000);
  }

  reset() {
    this.buckets = Array.from({ length: SECONDS }, () => ({ count: 0, size: 0 }));
    this.total = 0;
    this.#draw();
  }

  // Count messages; those read while catching up say nothing about the rate.
  add(entries, live) {
    this.total += entries.length;
    if (live) {
      const now = this.buckets[SECONDS - 1];
      for (const one of entries) {
        now.count += 1;
        now.size += one.size;
      }
    }
    this.seenHere.textContent = this.total.toLocaleString();
  }

  #tick() {
    this.#draw();
    this.buckets.shift();
    this.buckets.push({ count: 0, size: 0 });
  }

  #draw() {
    const last = this.buckets.slice(-OVER_S);
    const mean = (name) => last.reduce((sum, one) => sum + one[name], 0) / OVER_S;
    this.messages.textContent = rounded(mean('count'));
    this.bytes.textContent = rounded(mean('size'));
    this.seenHere.textContent = this.total.toLocaleString();
    const ratio = devicePixelRatio, { canvas } = this;
    canvas.width = canvas.clientWidth * ratio;
    canvas.height = canvas.clientHeight * ratio;
    const ink = canvas.getContext('2d');
    ink.fillStyle = getComputedStyle(canvas).getPropertyValue('--mark');
    const top = Math.max(1, ...this.buckets.map((one) => one.size)), wide = canvas.width / SECONDS;
    this.buckets.forEach((one, n) => {
      const high = one.size ? Math.max(2, (one.size / top) * canvas.height) : 1;
      ink.globalAlpha = one.size ? 1 : 0.25;
      ink.fillRect(n * wide, canvas.height - high, wide * 0.7, high);
    });
  }
}

function rounded(value) {
  return value >= 100 ? Math.round(value).toLocaleString() : String(Math.round(value * 10) / 10);
}
