// Speaks to the server, and keeps the list of runs as it changes.

import { tell } from "./dom.js"

export async function request(method, path, body, raw = false) {
  const options = { method, headers: {} }
  if (body !== undefined) {
    options.body = JSON.stringify(body)
    options.headers["content-type"] = "application/json"
  }
  let answer
  try {
    answer = await fetch(path, options)
  } catch {
    throw new Error("The server does not answer: is the dashboard still running?")
  }
  if (!answer.ok) {
    let text = `${answer.status} ${answer.statusText}`
    try { text = (await answer.json()).error } catch { /* no words */ }
    throw Object.assign(new Error(text), { status: answer.status })
  }
  return raw ? answer.blob() : answer.json()
}

/** Change something on the server, and see at once what it has changed. */
export async function change(method, path, body) {
  const answer = await request(method, path, body)
  await update()
  return answer
}

/** Do something and tell what goes wrong; returns null then. */
export async function attempt(action) {
  try {
    return await action()
  } catch (error) {
    tell(error.message, true)
    return null
  }
}

/** The runs by id, with the settings that are shown. */
export const runs = new Map()
export const about = { version: 0, root: "", readOnly: false, problem: "" }

let wanted = new Set()
let listeners = new Set()
let updating = null

/** Settings that rows have to have; asks for all rows again if some are new. */
export async function want(names) {
  const missing = names.filter((name) => !wanted.has(name))
  if (!missing.length) return
  wanted = new Set([...wanted, ...missing])
  about.version = 0
  await update()
}

/** Call a function after each change of the list; returns what ends that. */
export function onChange(listener) {
  listeners.add(listener)
  return () => listeners.delete(listener)
}

export async function update() {
  while (updating) await updating
  updating = fetchChanges()
  try { await updating } finally { updating = null }
}

async function fetchChanges() {
  const names = wanted
  const columns = encodeURIComponent([...names].join(","))
  const since = about.version
  const found = await request("GET", `/api/runs?since=${since}&columns=${columns}`)
  if (since === 0) runs.clear()
  for (const run of found.runs) runs.set(run.id, run)
  for (const id of found.removed) runs.delete(id)
  Object.assign(about, { version: found.version, root: found.root, readOnly: found.read_only, problem: found.problem })
  if (names !== wanted) about.version = 0 // rows without the settings that were wanted meanwhile
  const changed = new Set(found.runs.map((run) => run.id))
  for (const listener of listeners) listener(changed, found.removed)
}

/**
 * Listen to what is new, and say whether the server can be heard. A browser opens few connections to a server: of several
 * pages one listens, and tells the others.
 */
export function listen() {
  if (!navigator.locks) { hear(heard); return } // not on https, nor on this machine
  const channel = new BroadcastChannel("live")
  let last = null
  const told = (news) => { last = news; heard(news) }
  channel.addEventListener("message", ({ data }) => {
    if (data !== "ask") told(data)
    else if (hearing && last) channel.postMessage(last)
  })
  let hearing = false
  channel.postMessage("ask")
  navigator.locks.request("live", () => {
    hearing = true
    hear((news) => { told(news); channel.postMessage(news) })
    return new Promise(() => {}) // until this page is closed
  })
}

function hear(tell) {
  const source = new EventSource("/api/live")
  source.addEventListener("version", (event) => tell({ live: true, version: Number(event.data) }))
  source.addEventListener("error", () => tell({ live: false }))
}

function heard({ live, version }) {
  const sign = document.getElementById("connection")
  sign.textContent = live ? "live" : "no connection"
  sign.className = live ? "live" : "lost"
  if (live && version !== about.version) attempt(update)
  if (!live) fetch("/api/charts").then((answer) => { // nothing to see where the server does not answer at all
    if (answer.status === 401) sign.textContent = "started again: open its new address"
  }, () => {})
}
