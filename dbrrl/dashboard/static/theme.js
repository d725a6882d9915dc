// Sets the colours before anything is shown: those chosen here, or the system's.
{
  const chosen = localStorage.getItem("theme")
  const dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches
  document.documentElement.dataset.theme = dark ? "dark" : "light"
}
