// A small seeded generator, so that a history is a function of its seed on every machine.

/** @param {string} text */
const hash = (text) => {
  let h = 2166136261
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 16777619)
  return h >>> 0
}

export class Random {
  /** @param {string} seed */
  constructor (seed) {
    this.state = hash(seed)
  }

  /** A float in [0, 1): mulberry32, whose period of 2^32 is ample for one history. */
  next () {
    this.state = (this.state + 0x6d2b79f5) | 0
    let t = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }

  /** An integer in [low, high], both included. */
  int (low, high) {
    return low + Math.floor(this.next() * (high - low + 1))
  }

  chance (probability) {
    return this.next() < probability
  }

  pick (list) {
    return list[Math.floor(this.next() * list.length)]
  }

  /** One key of an object of weights. */
  weighted (weights) {
    const names = Object.keys(weights)
    let rest = this.next() * names.reduce((sum, name) => sum + weights[name], 0)
    for (const name of names) {
      rest -= weights[name]
      if (rest < 0) return name
    }
    return names[names.length - 1]
  }
}
