// The table of runs: columns, filter, groups, selection, and what is done with the runs that are selected.

import { about, attempt, change, onChange, request, runs, want } from "./api.js"
import { go } from "./app.js"
import { column, compare, fieldNames, matches, parse, settingsOf, usual } from "./columns.js"
import { ask, h, keyed, number, parts, plain, show, tell } from "./dom.js"

const PAGE = 100
const view = Object.assign(
  { columns: usual, sort: "started", down: true, group: "", hidden: false },
  JSON.parse(localStorage.getItem("runs") || "{}"),
)
const selected = new Set()
let known = { settings: [], metrics: [] }

export function runsPage(page) {
  const state = { text: new URLSearchParams(location.search).get("filter") || "", first: 0, closed: new Set() }
  const bar = h("div", { class: "bar" })
  const table = h("div", { class: "table" })
  page.append(h("h1", { class: "hide-visually" }, "Runs"), bar, table)

  const draw = () => {
    drawBar(bar, state, redraw)
    drawTable(table, state, redraw)
  }
  const redraw = async (settings = []) => {
    localStorage.setItem("runs", JSON.stringify(view))
    const address = state.text ? `/?filter=${encodeURIComponent(state.text)}` : "/"
    history.replaceState(null, "", address)
    const asked = [...view.columns, view.sort, view.group, ...settings, ...settingsOf(parse(state.text))]
    const missing = asked.filter((name) => name && !fieldNames.includes(name))
    await attempt(() => want(missing))
    draw()
  }
  redraw()
  attempt(async () => { known = await request("GET", "/api/columns"); draw() })
  return onChange((_, removed) => {
    for (const id of removed) selected.delete(id)
    draw()
  })
}

/** The runs that the filter leaves, in order. */
function visible(state) {
  const filter = parse(state.text)
  const by = column(view.sort)
  const found = [...runs.values()].filter((run) => (view.hidden || !run.hidden) && matches(run, filter))
  const sign = view.down ? -1 : 1
  const empty = (run) => [null, undefined, ""].includes(by.value(run))
  return found.sort((a, b) => (empty(a) || empty(b) ? empty(a) - empty(b) : sign * compare(by.value(a), by.value(b))))
}

function drawBar(bar, state, redraw) {
  const ids = [...selected].filter((id) => runs.has(id))
  const count = ids.length
  const writing = !about.readOnly
  const groups = [...new Set([view.group, ...view.columns, ...fieldNames.slice(1), ...known.settings.map((one) => one.name)])]
    .filter(Boolean)
  const chosen = ids.map((id) => [id, runs.get(id).hidden])
  parts(bar, [[[view, chosen, known.settings.length, writing], () => [
    h("label", { class: "grow" }, h("span", { class: "hide-visually" }, "Filter"),
      h("input", {
        type: "search", "data-key": "filter", value: state.text, spellcheck: "false",
        placeholder: "Filter: words, or conditions such as env=CartPole-v1 learning_rate>=0.001",
        oninput: (event) => { state.text = event.target.value; state.first = 0; redraw() },
      })),
    h("label", {}, "Group by ",
      h("select", { "data-key": "group", onchange: (event) => { view.group = event.target.value; redraw() } },
        h("option", { value: "" }, "nothing"),
        groups.map((name) => h("option", { value: name, selected: name === view.group }, column(name).title)))),
    h("button", { type: "button", "data-key": "columns", onclick: () => chooseColumns(redraw) }, "Columns"),
    h("label", {}, h("input", {
      type: "checkbox", "data-key": "hidden", checked: view.hidden,
      onchange: (event) => { view.hidden = event.target.checked; redraw() },
    }), " hidden ones too"),
    h("div", { class: "actions", role: "group", "aria-label": "Selected runs" },
      h("span", {}, `${count} selected`),
      h("button", { type: "button", "data-key": "chart", disabled: !count, onclick: () => chart(ids) }, "Chart"),
      h("button", { type: "button", "data-key": "differences", disabled: count < 2, onclick: () => differences(ids) },
        "Differences"),
      writing && h("button", { type: "button", "data-key": "mark", disabled: !count, onclick: () => mark(ids) },
        "Name, tag, note"),
      writing && h("button", { type: "button", "data-key": "hide", disabled: !count, onclick: () => hide(ids) },
        ids.length && ids.every((id) => runs.get(id).hidden) ? "Restore" : "Hide"),
      writing && h("button", {
        type: "button", class: "danger", "data-key": "delete", disabled: count !== 1, onclick: () => remove(ids[0]),
      }, "Delete"))]]])
}

function drawTable(table, state, redraw) {
  if (about.problem) table.dataset.problem = about.problem
  const found = visible(state)
  if (!runs.size) {
    show(table, empty())
    return
  }
  if (!found.length) {
    const hidden = [...runs.values()].filter((run) => run.hidden).length
    const names = settingsOf(parse(state.text)).filter((name) => !known.settings.some((one) => one.name === name))
    show(table, h("p", { class: "hint" }, `None of the ${number(runs.size)} runs matches the filter` +
      (hidden && !view.hidden ? `; ${number(hidden)} are hidden.` : ".") +
      (names.length ? ` No run has a setting or column ${names.join(", ")}: "Columns" lists them.` : "")))
    return
  }
  const names = ["name", ...view.columns]
  const shown = found.slice(state.first, state.first + PAGE)
  const all = shown.every((run) => selected.has(run.id))
  const ids = shown.map((run) => run.id)
  const head = () => h("tr", {},
    h("th", { scope: "col" }, h("input", {
      type: "checkbox", "data-key": "all", "aria-label": "Select all that are shown", checked: all,
      onchange: () => { for (const id of ids) all ? selected.delete(id) : selected.add(id); redraw() },
    })),
    names.map((name) => heading(name, redraw)))
  if (!state.body || !table.contains(state.body)) {
    Object.assign(state, { problem: h("p", { class: "problem" }), head: h("thead"), body: h("tbody"), foot: h("div") })
    show(table, state.problem, h("div", { class: "scroll" }, h("table", { class: "runs" }, state.head, state.body)), state.foot)
  }
  show(state.problem, about.problem)
  state.problem.hidden = !about.problem
  keyed(state.head, [["head", [names, view.sort, view.down, all, ids], head]])
  keyed(state.body, view.group ? grouped(shown, found, names, state, redraw) : shown.map((run) => row(run, names, redraw)))
  parts(state.foot, [[[found.length, state.first], () => pages(found.length, state, redraw)]])
}

function heading(name, redraw) {
  const { title, numeric } = column(name)
  const sorted = view.sort === name ? (view.down ? "descending" : "ascending") : "none"
  const sort = () => {
    view.down = view.sort === name ? !view.down : column(name).numeric === true
    view.sort = name
    redraw()
  }
  return h("th", { scope: "col", "aria-sort": sorted, class: numeric ? "number" : "" },
    h("button", { type: "button", class: "plain", "data-key": `sort ${name}`, onclick: sort }, title,
      h("span", { "aria-hidden": "true" }, sorted === "none" ? "" : view.down ? " ↓" : " ↑")))
}

/** A row, and its cells, of which only those that change are replaced: see `keyed`. */
function row(run, names, redraw) {
  const box = () => h("td", {}, h("input", {
    type: "checkbox", "data-key": run.id, "aria-label": `Select ${run.name}`,
    onchange: (event) => { event.target.checked ? selected.add(run.id) : selected.delete(run.id); redraw() },
  }))
  const cells = [["select", run.name, box, (one) => { one.firstChild.checked = selected.has(run.id) }],
    ...names.map((name) => [name, cellKey(run, name), () => cell(run, name)])]
  return [run.id, run.hidden, () => h("tr", { class: run.hidden ? "hidden-run" : "", "data-run": run.id }),
    (one) => keyed(one, cells)]
}

function cellKey(run, name) {
  if (name === "state") return [run.state, run.text, run.problems]
  return name === "name" ? run.name : name === "tags" ? run.tags : column(name).text(run)
}

function cell(run, name) {
  if (name === "name") return h("th", { scope: "row" }, h("a", { href: `/run/${run.id}` }, run.name))
  if (name === "state") return h("td", {}, badge(run))
  if (name === "tags") return h("td", {}, run.tags.map((tag) => h("span", { class: "tag" }, tag)))
  const one = column(name)
  return h("td", { class: one.numeric || typeof one.value(run) === "number" ? "number" : "", title: one.text(run) },
    one.text(run))
}

export function badge(run) {
  return h("span", { class: `badge ${run.state}`, title: run.text || run.problems.join("; ") },
    run.state + (run.problems.length ? " ⚠" : ""))
}

function grouped(shown, found, names, state, redraw) {
  const by = column(view.group)
  const keys = [...new Set(shown.map((run) => by.text(run)))]
  return keys.flatMap((key) => {
    const members = found.filter((run) => by.text(run) === key)
    const scores = members.map((run) => run.score).filter((score) => score !== null)
    const mean = scores.reduce((sum, score) => sum + score, 0) / scores.length
    const closed = state.closed.has(key)
    const toggle = () => { closed ? state.closed.delete(key) : state.closed.add(key); redraw() }
    const title = `${by.title}: ${key || "none"}`
    const ids = members.map((run) => run.id)
    const line = () => h("tr", { class: "group" },
      h("td", {}, h("input", {
        type: "checkbox", "data-key": `group ${key}`, "aria-label": `Select ${title}`,
        onchange: (event) => {
          for (const id of ids) event.target.checked ? selected.add(id) : selected.delete(id)
          redraw()
        },
      })),
      h("th", { scope: "rowgroup", colspan: String(names.length) },
        h("button", { type: "button", class: "plain", "aria-expanded": String(!closed), "data-key": `open ${key}`,
          onclick: toggle }, `${closed ? "▸" : "▾"} ${title}`), h("span", { class: "hint" })))
    const fill = (one) => {
      one.querySelector("input").checked = ids.every((id) => selected.has(id))
      one.querySelector(".hint").textContent = ` ${ids.length} run${ids.length === 1 ? "" : "s"}` +
        (scores.length ? `, mean score ${number(mean)}` : "")
    }
    return [
      [`group ${key}`, [title, closed, names.length, ids], line, fill],
      ...(closed ? [] : shown.filter((run) => by.text(run) === key).map((run) => row(run, names, redraw))),
    ]
  })
}

function pages(count, state, redraw) {
  if (count <= PAGE) return h("p", { class: "hint" }, `${number(count)} runs`)
  const last = Math.min(state.first + PAGE, count)
  const to = (first) => { state.first = first; redraw() }
  return h("p", { class: "pages" },
    h("button", { type: "button", "data-key": "before", disabled: !state.first, onclick: () => to(state.first - PAGE) },
      "Previous"),
    ` ${number(state.first + 1)} to ${number(last)} of ${number(count)} runs `,
    h("button", { type: "button", "data-key": "next", disabled: last >= count, onclick: () => to(last) }, "Next"))
}

function empty() {
  return h("section", { class: "first" },
    h("h2", {}, "No runs yet"),
    h("p", {}, "This folder holds no run: ", h("code", {}, about.root)),
    h("p", {}, "Start one, and it appears here by itself:"),
    h("pre", {}, `python -m dbrrl.train --agent ppo --env CartPole-v1 --out ${about.root}`))
}

function chart(ids) {
  go(`/charts?runs=${ids.join(",")}`)
}

function chooseColumns(redraw) {
  ask("Columns", (close) => {
    const search = h("input", { type: "search", "aria-label": "Find a column", placeholder: "Find a setting" })
    const list = h("div", { class: "choices" })
    const toggle = (name) => {
      view.columns = view.columns.includes(name) ? view.columns.filter((one) => one !== name) : [...view.columns, name]
      redraw().then(fill)
    }
    const move = (name, by) => {
      const from = view.columns.indexOf(name)
      const to = Math.max(0, Math.min(view.columns.length - 1, from + by))
      view.columns.splice(to, 0, ...view.columns.splice(from, 1))
      view.columns = [...view.columns]
      redraw().then(fill)
    }
    const line = (name, hint) => h("div", { class: "choice" },
      h("label", {}, h("input", {
        type: "checkbox", "data-key": `column ${name}`, checked: view.columns.includes(name),
        onchange: () => toggle(name),
      }), ` ${column(name).title}`, hint && h("span", { class: "hint" }, ` ${hint}`)),
      view.columns.includes(name) && h("span", {},
        h("button", { type: "button", class: "plain", "data-key": `left ${name}`, "aria-label": `Move ${name} left`,
          onclick: () => move(name, -1) }, "←"),
        h("button", { type: "button", class: "plain", "data-key": `right ${name}`, "aria-label": `Move ${name} right`,
          onclick: () => move(name, 1) }, "→")))
    const fill = () => {
      const text = search.value.toLowerCase()
      const fits = (name) => name.toLowerCase().includes(text)
      const settings = known.settings.filter((one) => fits(one.name) && !view.columns.includes(one.name))
      settings.sort((a, b) => (b.values > 1) - (a.values > 1) || a.name.localeCompare(b.name))
      show(list,
        view.columns.filter(fits).map((name) => line(name)),
        fieldNames.filter((name) => name !== "name" && fits(name) && !view.columns.includes(name))
          .map((name) => line(name)),
        settings.map((one) => line(one.name, one.values > 1 ? `${one.values} values` : "the same everywhere")))
    }
    search.addEventListener("input", fill)
    fill()
    return [search, list, h("p", { class: "buttons" },
      h("button", { type: "button", onclick: () => { view.columns = usual; redraw().then(fill) } }, "The usual ones"),
      h("button", { type: "button", class: "primary", onclick: () => close(true) }, "Done"))]
  })
}

async function differences(ids) {
  const details = await attempt(() => want(known.settings.map((one) => one.name)))
  if (details === null) return
  const chosen = ids.map((id) => runs.get(id)).filter(Boolean)
  const names = [...new Set(chosen.flatMap((run) => Object.keys(run.settings)))].sort()
  const differ = names.filter((name) => new Set(chosen.map((run) => plain(run.settings[name]))).size > 1)
  ask("Differences between settings", (close) => [
    differ.length
      ? h("div", { class: "scroll" }, h("table", {},
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "setting"),
          chosen.map((run) => h("th", { scope: "col" }, run.name)))),
        h("tbody", {}, differ.map((name) => h("tr", {}, h("th", { scope: "row" }, name),
          chosen.map((run) => h("td", {}, plain(run.settings[name]) || "–")))))))
      : h("p", {}, "All their settings are the same."),
    h("p", { class: "hint" }, `${names.length - differ.length} settings are the same.`),
    h("p", { class: "buttons" }, h("button", { type: "button", class: "primary", onclick: () => close(true) }, "Close")),
  ])
}

function mark(ids) {
  const one = ids.length === 1 ? runs.get(ids[0]) : null
  const name = h("input", { type: "text", value: one ? one.name : "", maxlength: "200" })
  const list = (field) => [...new Set(field.value.split(",").map((word) => word.trim().slice(0, 50)).filter(Boolean))]
  const present = [...new Set(ids.flatMap((id) => runs.get(id).tags))]
  const tags = h("input", { type: "text", value: one ? one.tags.join(", ") : "", placeholder: "with commas between" })
  const gone = h("input", { type: "text", placeholder: present.join(", ") || "they have none" })
  const note = h("textarea", { rows: "4", maxlength: "10000" })
  note.value = one ? one.note : ""
  ask(one ? "Name, tags and note" : `Tags of ${ids.length} runs`, (close) => {
    const save = async (event) => {
      event.preventDefault()
      const body = one ? { runs: ids, tags: list(tags), name: name.value, note: note.value }
        : { runs: ids, add_tags: list(tags), remove_tags: list(gone) }
      if (await attempt(() => change("PATCH", "/api/runs", body))) close(true)
    }
    return [h("form", { onsubmit: save },
      one && h("label", {}, "Name", name),
      h("label", {}, one ? "Tags" : "Add tags", tags),
      !one && h("label", {}, "Remove tags", gone),
      one && h("label", {}, "Note", note),
      h("p", { class: "buttons" },
        h("button", { type: "button", onclick: () => close(null) }, "Cancel"),
        h("button", { type: "submit", class: "primary" }, "Save")))]
  })
}

async function hide(ids) {
  const hidden = !ids.every((id) => runs.get(id).hidden)
  const done = await attempt(() => change("PATCH", "/api/runs", { runs: ids, hidden }))
  if (done && hidden) {
    selected.clear()
    tell(`${ids.length} hidden: "hidden ones too" shows them, and then they can be restored.`)
  }
}

function remove(id) {
  const run = runs.get(id)
  const folder = run.path.split("/").pop()
  const typed = h("input", { type: "text", autocomplete: "off", "aria-label": "Name of the folder" })
  ask("Delete a run", (close) => {
    const submit = async (event) => {
      event.preventDefault()
      const done = await attempt(() => change("DELETE", `/api/runs/${id}`, { confirm: typed.value || " " }))
      if (done) { selected.delete(id); tell(`${folder} is deleted.`); close(true) }
    }
    return [h("form", { onsubmit: submit },
      h("p", {}, "Its folder with all that it has learned is removed for good. Type its name to do so:"),
      h("p", {}, h("code", {}, folder)), typed,
      h("p", { class: "buttons" },
        h("button", { type: "button", onclick: () => close(null) }, "Cancel"),
        h("button", { type: "submit", class: "danger" }, "Delete")))]
  })
}
