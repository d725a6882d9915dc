// The columns of the table of runs, and the language of its filter.

import { duration, moment, number, plain } from "./dom.js"

const fields = {
  name: { title: "run", value: (run) => run.name },
  state: { title: "state", value: (run) => run.state },
  agent: { title: "agent", value: (run) => run.agent },
  env: { title: "environment", value: (run) => run.env },
  seed: { title: "seed", value: (run) => run.seed, numeric: true },
  steps: { title: "steps", value: (run) => run.steps, text: (run) => progress(run), numeric: true },
  score: { title: "score", value: (run) => run.score, text: (run) => number(run.score), numeric: true },
  best: { title: "best", value: (run) => run.best, text: (run) => number(run.best), numeric: true },
  elapsed: { title: "time", value: (run) => run.elapsed, text: (run) => duration(run.elapsed), numeric: true },
  started: { title: "started", value: (run) => run.started, text: (run) => moment(run.started), numeric: true },
  commit: { title: "commit", value: (run) => run.commit, text: (run) => run.commit.slice(0, 10) },
  tags: { title: "tags", value: (run) => run.tags.join(" ") },
  note: { title: "note", value: (run) => run.note },
  path: { title: "folder", value: (run) => run.path },
}

export const usual = ["state", "agent", "env", "seed", "steps", "score", "best", "elapsed", "started", "tags"]
export const fieldNames = Object.keys(fields)

/** A column by its name: a field of every run, or a setting. */
export function column(name) {
  const known = fields[name]
  if (known) return { name, text: (run) => plain(known.value(run)), ...known }
  const value = (run) => run.settings[name]
  return { name, title: name, value, text: (run) => plain(value(run)), setting: true }
}

function progress(run) {
  if (run.state === "finished" || !run.total || run.steps >= run.total) return number(run.steps)
  return `${number(run.steps)} of ${number(run.total)}`
}

export function compare(a, b) {
  const none = (value) => value === null || value === undefined || value === ""
  if (none(a) || none(b)) return none(a) - none(b)
  if (typeof a === "number" && typeof b === "number") return a - b
  return String(a).localeCompare(String(b), "en", { numeric: true })
}

const condition = /^([\w.]+)(!=|>=|<=|=|>|<)(.+)$/
const titles = Object.fromEntries(Object.entries(fields).map(([name, { title }]) => [title, name]))

/** The words of a filter: plain ones, and conditions such as `learning_rate>=0.001` or `env=CartPole-v1`. */
export function parse(text) {
  const words = text.replace(/\s*(!=|>=|<=|=|>|<)\s*/g, "$1").match(/(?:[^\s"]|"[^"]*"?)+/g) || []
  return words.filter((word) => !/^[\w.]+(!=|>=|<=|=|>|<)$/.test(word)).map((word) => { // not one that is still typed
    const found = word.match(condition)
    if (!found) return { text: word.replaceAll('"', "").toLowerCase() }
    return { name: titles[found[1]] || found[1], sign: found[2], value: found[3].replaceAll('"', "") }
  })
}

/** The settings that a filter asks about. */
export function settingsOf(filter) {
  return filter.filter((one) => one.name && !fields[one.name]).map((one) => one.name)
}

export function matches(run, filter) {
  return filter.every((one) => (one.name ? holds(run, one) : contains(run, one.text)))
}

function contains(run, text) {
  return [run.name, run.path, run.agent, run.env, run.state, run.note, ...run.tags]
    .some((value) => value.toLowerCase().includes(text))
}

function holds(run, { name, sign, value }) {
  if (name === "tags") return run.tags.some((tag) => tag.toLowerCase() === value.toLowerCase()) === (sign !== "!=")
  const own = column(name).value(run)
  if (own === undefined || own === null) return sign === "!="
  const same = typeof own === "number" ? own === Number(value) : plain(own).toLowerCase() === value.toLowerCase()
  if (sign === "=") return same
  if (sign === "!=") return !same
  const order = compare(own, typeof own === "number" ? Number(value) : value)
  return sign === ">" ? order > 0 : sign === "<" ? order < 0 : sign === ">=" ? order >= 0 : order <= 0
}
