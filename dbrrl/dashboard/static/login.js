// Sends the password and opens the dashboard.

const form = document.getElementById("login")
const problem = document.getElementById("problem")

form.addEventListener("submit", async (event) => {
  event.preventDefault()
  problem.textContent = ""
  try {
    const answer = await fetch("/login", { method: "POST", body: document.getElementById("password").value })
    if (answer.ok) location.replace(location.pathname === "/login" ? "/" : location.href)
    else problem.textContent = (await answer.json()).error
  } catch {
    problem.textContent = "The server does not answer."
  }
})
