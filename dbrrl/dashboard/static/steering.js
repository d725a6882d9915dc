// Commands to a run that is going on, and what became of them.

import { about, attempt, change } from "./api.js"
import { ask, h, moment, number, plain, show, tell } from "./dom.js"

/** The parts of the tab, each with what it depends on: see `parts`. */
export function steering(detail, state, redraw) {
  const going = detail.run.state === "running"
  state.order ||= { name: detail.changeable[0] ? detail.changeable[0].name : "", at: "", value: "" }
  return [
    [["form", detail.run.state, about.readOnly, detail.changeable, state.order.name], () => [
      !going && h("p", { class: "hint" }, `The run is ${detail.run.state}: it takes no commands` +
        (["stopped", "failed", "stale"].includes(detail.run.state) ? " until it is resumed." : ".")),
      about.readOnly && h("p", { class: "hint" }, "This dashboard is read-only: it gives no commands."),
      going && !about.readOnly && form(detail, state, redraw)]],
    [detail.commands, () => [h("h2", {}, "Commands"), history(detail.commands)]],
  ]
}

function form(detail, state, redraw) {
  const { order } = state
  const at = () => Math.max(0, Number(order.at) | 0)
  const give = async (command, values = {}) => {
    const path = `/api/runs/${detail.run.id}/commands`
    if (await attempt(() => change("POST", path, { command, values, at: at() }))) tell(`Given: ${command}.`)
  }
  const chosen = detail.changeable.find((one) => one.name === order.name)
  const present = chosen ? plain(chosen.value) || "none" : ""
  const set = (event) => {
    event.preventDefault()
    const text = order.value.trim()
    if (!text) tell("Type the new value first.", true)
    else give("set", { [order.name]: text !== "" && Number.isFinite(Number(text)) ? Number(text) : text })
  }
  return h("div", { class: "steer" },
    h("div", { class: "controls" },
      h("button", { type: "button", "data-key": "evaluate", onclick: () => give("evaluate") }, "Evaluate"),
      h("button", { type: "button", "data-key": "checkpoint", onclick: () => give("checkpoint") }, "Save a checkpoint"),
      h("button", { type: "button", class: "danger", "data-key": "stop", onclick: () => stop(detail, give) }, "Stop"),
      h("button", { type: "button", "data-key": "own", onclick: () => own(give) }, "Another command"),
      h("label", {}, "at step ", h("input", { type: "number", min: "0", "data-key": "at", value: order.at,
        placeholder: "now", oninput: (event) => { order.at = event.target.value } }))),
    h("form", { class: "controls", onsubmit: set },
      h("label", {}, "Setting ", h("select", { "data-key": "setting",
        onchange: (event) => { Object.assign(order, { name: event.target.value, value: "" }); redraw() } },
      detail.changeable.map((one) => h("option", { value: one.name, selected: one.name === order.name }, one.name)))),
      h("label", {}, "value ", h("input", { type: "text", "data-key": "value", placeholder: present,
        value: order.value, "aria-label": "New value", oninput: (event) => { order.value = event.target.value } })),
      h("button", { type: "submit", "data-key": "set" }, "Change"),
      h("span", { class: "hint" }, `now ${present}`)))
}

function stop(detail, give) {
  ask("Stop the run", (close) => [
    h("p", {}, `${detail.run.name} saves an exact checkpoint and ends. It can be resumed.`),
    h("p", { class: "buttons" },
      h("button", { type: "button", onclick: () => close(null) }, "Cancel"),
      h("button", { type: "button", class: "danger", onclick: () => { give("stop"); close(true) } }, "Stop it"))])
}

function own(give) {
  const name = h("input", { type: "text", required: true, maxlength: "100" })
  const values = h("textarea", { rows: "3", placeholder: "{\"name\": 1}" })
  const problem = h("p", { class: "problem", role: "alert" })
  ask("A command of the run's own callbacks", (close) => {
    const submit = (event) => {
      event.preventDefault()
      try {
        const given = values.value.trim() ? JSON.parse(values.value) : {}
        if (typeof given !== "object" || given === null || Array.isArray(given)) throw new Error()
        give(name.value.trim(), given)
        close(true)
      } catch {
        show(problem, 'The arguments are not a table in JSON, such as {"to": 3}.')
      }
    }
    return [h("form", { onsubmit: submit }, h("label", {}, "Name", name),
      h("label", {}, "Arguments, as JSON", values), problem, h("p", { class: "buttons" },
        h("button", { type: "button", onclick: () => close(null) }, "Cancel"),
        h("button", { type: "submit", class: "primary" }, "Give it")))]
  })
}

function history(commands) {
  if (!commands.length) return h("p", { class: "hint" }, "None was given.")
  return h("div", { class: "scroll" }, h("table", { class: "commands" },
    h("thead", {}, h("tr", {}, ["command", "values", "answer", "step", "", "time"].map((name) =>
      h("th", { scope: "col" }, name)))),
    h("tbody", {}, [...commands].reverse().map((one) => h("tr", { class: one.event },
      h("th", { scope: "row" }, one.command),
      h("td", {}, Object.entries(one.values).map(([name, value]) => `${name} = ${plain(value)}`).join(", ")),
      h("td", {}, one.event), h("td", { class: "number" }, one.step === null ? "–" : number(one.step)),
      h("td", {}, one.text), h("td", {}, moment(one.time)))))))
}
