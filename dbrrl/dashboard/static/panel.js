// What an agent sees, does and says at one step of an episode.

import { h, number, tell } from "./dom.js"

/** `at`: the step; `act(action)` plays the episode again with another action here; `named`: whether to name the agent. */
export function panel(episode, moment, at, act, named) {
  return h("section", { class: "stage", "aria-label": episode.file },
    named && h("h2", {}, episode.file),
    h("div", { class: "views" },
      episode.problem ? h("p", { class: "hint" }, episode.problem)
        : h("img", { class: "frame", src: `/api/episodes/${episode.id}/frame?step=${at}`, alt: `The environment at step ${at}` }),
      moment.picture && h("img", { class: "seen", alt: "The observation",
        src: `/api/episodes/${episode.id}/image?step=${at}${moment.salient ? "&saliency=true" : ""}` })),
    h("div", { class: "told" }, h("dl", { class: "facts" }, [
      ["reward", number(moment.reward)], ["return", number(moment.total)],
      ["value", number(moment.value)], ["entropy", number(moment.entropy)],
      ["action", action(moment.action) + (moment.changed ? " (by hand)" : "")],
      ["whole episode", `${number(episode.total)} in ${number(episode.length)} steps, ${episode.ended}`],
    ].filter(([name, text]) => name !== "entropy" || text !== "–") // what an agent has not is not shown
      .map(([name, text]) => h("div", {}, h("dt", {}, name), h("dd", {}, text)))),
    h("div", { class: "said" }, policy(moment), bars("Q", moment.q, moment.action), returns(moment),
      observation(moment), byHand(episode, moment, act))))
}

function action(value) {
  return Array.isArray(value) ? `(${value.map(number).join(", ")})` : number(value)
}

function policy({ policy: found, action: chosen }) {
  if (!found) return null
  if (found.kind === "choices") return bars("Probability", found.probs, chosen)
  if (found.kind !== "normal") return null
  return h("table", {}, h("caption", {}, "Policy"), h("thead", {}, h("tr", {}, ["", "mean", "deviation"].map((name) =>
    h("th", { scope: "col" }, name)))), h("tbody", {}, found.mean.map((mean, index) => h("tr", {},
    h("th", { scope: "row" }, String(index)), h("td", { class: "number" }, number(mean)),
    h("td", { class: "number" }, number(found.std[index]))))))
}

/** A bar for each number, the chosen one marked; widths are set by script, as the page allows no styles in HTML. */
function bars(title, values, chosen) {
  if (!values || values.length > 200) return null
  const known = values.filter((value) => value !== null)
  const low = Math.min(0, ...known)
  const high = title === "Probability" ? 1 : Math.max(...known, low + 1e-12)
  return h("table", { class: "bars" }, h("caption", {}, title), h("tbody", {}, values.map((value, index) => {
    const bar = h("span", { class: "bar-fill" })
    bar.style.width = value === null ? "0" : `${(100 * (value - low)) / (high - low)}%`
    return h("tr", { class: index === chosen ? "chosen" : "" }, h("th", { scope: "row" }, String(index)),
      h("td", { class: "wide" }, bar), h("td", { class: "number" }, value === null ? "not allowed" : number(value)))
  })))
}

function returns({ returns: found, action: chosen }) {
  if (!found) return null
  const values = found.values[chosen]
  const probs = found.probs[chosen]
  if (!values) return null
  const low = Math.min(...found.values.flat())
  const high = Math.max(...found.values.flat(), low + 1e-9)
  const bins = new Array(40).fill(0)
  values.forEach((value, index) => {
    bins[Math.min(39, Math.floor((40 * (value - low)) / (high - low)))] += probs[index]
  })
  const most = Math.max(...bins)
  return h("figure", { class: "histogram", role: "img", "aria-label": `Distribution of the return of action ${chosen}` },
    h("div", { class: "bins" }, bins.map((share) => {
      const bin = h("span")
      bin.style.height = `${(100 * share) / most}%`
      return bin
    })), h("figcaption", {}, `return of action ${chosen}: ${number(low)} to ${number(high)}`))
}

function observation({ observation: values, gradient }) {
  if (!values.length || values.length > 200) return null
  const most = Math.max(...gradient.map(Math.abs), 1e-12)
  return h("table", { class: "bars" }, h("caption", {}, gradient.length ? "Observation, and the gradient" : "Observation"),
    h("tbody", {}, values.map((value, index) => {
      const bar = h("span", { class: "bar-fill heat" })
      if (gradient.length) bar.style.width = `${(100 * Math.abs(gradient[index])) / most}%`
      return h("tr", {}, h("th", { scope: "row" }, String(index)), h("td", { class: "number" }, number(value)),
        gradient.length > 0 && h("td", { class: "wide" }, bar),
        gradient.length > 0 && h("td", { class: "number" }, number(gradient[index])))
    })))
}

function byHand(episode, moment, act) {
  if (episode.actions) {
    return h("div", { class: "hand" }, h("span", {}, "Another action here: "),
      Array.from({ length: Math.min(episode.actions, 50) }, (_, index) => h("button", { type: "button",
        "data-key": `act ${index}`, onclick: () => act(index) }, String(index))))
  }
  const given = Array.isArray(moment.action) ? moment.action.join(", ") : String(moment.action)
  const field = h("input", { type: "text", value: given, "aria-label": "Another action, numbers with commas between" })
  const submit = (event) => {
    event.preventDefault()
    const numbers = field.value.split(",").map((word) => (word.trim() ? Number(word) : NaN))
    if (numbers.every(Number.isFinite)) act(numbers)
    else tell("An action is numbers with commas between, such as 0.5, -1.", true)
  }
  return h("form", { class: "hand", onsubmit: submit }, h("label", {}, "Another action here ", field),
    h("button", { type: "submit" }, "Go on from it"))
}
