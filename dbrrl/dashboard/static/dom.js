// Makes elements. Text is always set as text: nothing that a file holds is read as HTML.

/** An element with attributes and children; `on...` attributes are listeners, null and false children are left out. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value)
    else if (name === "class") element.className = value
    else if (name in element && typeof value !== "string") element[name] = value
    else element.setAttribute(name, value)
  }
  element.append(...present(children))
  return element
}

function present(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== false && child !== undefined)
}

/** Replace what an element shows; what has the same `data-key` keeps the focus, and stays open. */
export function show(element, ...children) {
  const open = new Set([...element.querySelectorAll("details[open][data-key]")].map((one) => one.dataset.key))
  keepFocus(element, element, () => element.replaceChildren(...present(children)))
  for (const one of element.querySelectorAll("details[data-key]")) one.open ||= open.has(one.dataset.key)
}

/** Change the page; if the focus was in `before`, give it to what has the same `data-key` in `after`. */
function keepFocus(before, after, change) {
  const active = document.activeElement
  const key = before.contains(active) ? active.dataset.key : undefined
  const range = key && active.selectionStart !== undefined && active.type !== "checkbox" ? active.selectionStart : null
  change()
  if (!key) return
  const again = [after, ...after.querySelectorAll("[data-key]")].find((one) => one.dataset.key === key)
  if (!again) return
  again.focus({ preventScroll: true })
  if (range !== null && again.setSelectionRange) {
    try { again.setSelectionRange(range, range) } catch { /* a field without a cursor */ }
  }
}

/**
 * Show parts one below the other: pairs of what a part depends on and what makes it. One that depends on the same as when
 * it was last shown stays as it is, with what is typed, played or opened in it.
 */
export function parts(element, given) {
  keyed(element, given.map(([depends, make], index) => [index, null, () => h("div"), (part) => {
    const key = JSON.stringify(depends)
    if (part.shownKey !== key) show(part, make())
    part.shownKey = key
  }]))
}

/**
 * Show children by name: each is [name, what it depends on, what makes it, and what fills it each time]. A child of the same
 * name that depends on the same stays the same element, so that a press that began on it is a click though a run goes on.
 */
export function keyed(element, given) {
  const before = element.shownByName || new Map()
  const now = new Map()
  for (const [name, depends, make, fill] of given) {
    const key = JSON.stringify(depends)
    const known = before.get(name)
    const node = known && known.key === key && known.node.parentNode === element ? known.node : make()
    if (known && known.node !== node && known.node.parentNode === element) {
      keepFocus(known.node, node, () => known.node.replaceWith(node))
    }
    if (fill) fill(node)
    now.set(name, { key, node })
  }
  element.shownByName = now
  const nodes = [...now.values()].map(({ node }) => node)
  const kept = new Set(nodes)
  for (const child of [...element.childNodes]) if (!kept.has(child)) child.remove()
  let place = element.firstChild
  for (const node of nodes) {
    if (node === place) place = place.nextSibling
    else element.insertBefore(node, place)
  }
}

/** Tell something for a few seconds; a problem stays until it is closed, and is not told twice meanwhile. */
export function tell(text, problem = false) {
  const box = document.getElementById("messages")
  if (problem && [...box.children].some((line) => line.firstChild.textContent === text)) return
  const line = h("div", { class: problem ? "message problem" : "message" }, text,
    h("button", { type: "button", "aria-label": "Close the message", onclick: () => line.remove() }, "×"))
  box.append(line)
  if (!problem) setTimeout(() => line.remove(), 5000)
}

/** A dialog; resolves with what `close` is called with, or null if it is dismissed. */
export function ask(title, build) {
  return new Promise((resolve) => {
    const close = (value) => { dialog.close(); dialog.remove(); resolve(value) }
    const dialog = h("dialog", { "aria-label": title, oncancel: (event) => { event.preventDefault(); close(null) } })
    dialog.append(h("h2", {}, title), ...build(close))
    document.body.append(dialog)
    dialog.showModal()
    if (!dialog.querySelector("input, textarea")) { // begin at the top, not at its last button
      dialog.tabIndex = -1
      dialog.focus()
      dialog.scrollTop = 0
    }
  })
}

export function number(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–"
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return value.toLocaleString("en")
  const size = Math.abs(value)
  if (size !== 0 && (size < 1e-3 || size >= 1e7)) return value.toExponential(3)
  return value.toLocaleString("en", { maximumFractionDigits: size < 10 ? 4 : size < 1000 ? 2 : 0 })
}

export function duration(seconds) {
  if (!(seconds > 0)) return "–"
  if (seconds < 60) return `${seconds.toFixed(1)} s`
  const minutes = Math.round(seconds / 60)
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`
}

export function moment(seconds) {
  if (!seconds) return "–"
  const date = new Date(seconds * 1000)
  const two = (value) => String(value).padStart(2, "0")
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ` +
    `${two(date.getHours())}:${two(date.getMinutes())}`
}

/** The text of any setting's value. */
export function plain(value) {
  if (value === undefined || value === null) return ""
  if (typeof value === "number") return String(value)
  return typeof value === "string" ? value : JSON.stringify(value)
}
