// Queries of the lake page: examples, saved ones of this browser, Ctrl+Enter. Records traced from a price open on the topics page.
(() => {
  const [LONGEST_NAME, MOST_QUERIES] = [60, 50]
  const area = () => document.querySelector(".cv-sql-text")
  const saved = () => cv.stored("queries", {})
  const list = () => {
    const chooser = document.querySelector(".cv-queries")
    if (!chooser) return
    chooser.querySelector(".cv-saved")?.remove()
    const kept = Object.entries(saved())
    document.querySelector(".cv-saved-queries").replaceChildren(...kept.map(([name]) => {
      const one = cv.make("li", "cv-saved-query")
      const words = cv.t("remove_query", {name})
      one.append(cv.make("span", "", name), cv.make("button", "cv-remove", "✕", {type: "button", "aria-label": words, title: words, "data-do": "remove-sql", "data-name": name}))
      return one
    }))
    if (!kept.length) return
    const group = cv.make("optgroup", "cv-saved", undefined, {label: cv.t("saved_here")})
    for (const [name, sql] of kept) group.append(cv.make("option", "", name, {value: sql}))
    chooser.append(group)
  }
  cv.doing["remove-sql"] = element => {
    const {name} = element.dataset
    cv.confirm(cv.t("remove_query_question", {name}), () => {
      const names = Object.keys(saved())
      cv.store("queries", Object.fromEntries(Object.entries(saved()).filter(([each]) => each !== name)))
      list()
      const buttons = document.querySelectorAll(".cv-saved-queries .cv-remove")
      ;(buttons[Math.min(names.indexOf(name), buttons.length - 1)] ?? document.querySelector(".cv-queries")).focus()
    })
  }
  window.addEventListener("storage", event => { if (event.key === "cv.queries") list() })
  document.addEventListener("change", event => {
    if (!event.target.matches?.(".cv-queries") || !event.target.value) return
    area().value = event.target.value
  })
  // The choice stays, so that the arrow keys go through the queries; once the text is another, it can be chosen again.
  document.addEventListener("input", event => { if (event.target === area()) document.querySelector(".cv-queries").value = "" })
  cv.doing["save-sql"] = () => {
    const sql = area().value.trim()
    if (!sql) return area().focus()
    const name = cv.make("input", "", undefined, {type: "text", "aria-label": cv.t("name")})
    name.value = sql.replace(/\s+/g, " ").slice(0, 40)
    cv.dialog(cv.t("save_query"), name, [[cv.t("cancel"), "cv-cancel"], [cv.t("save"), "cv-confirm", () => {
      const called = name.value.trim() || "query"
      if (called.length > LONGEST_NAME) return cv.toast("error", cv.t("name_too_long", {count: cv.count(called.length), limit: LONGEST_NAME}))
      const others = Object.entries(saved()).filter(([each]) => each !== called)
      if (others.length >= MOST_QUERIES) return cv.toast("error", cv.t("too_many_queries", {limit: MOST_QUERIES}))
      if (!cv.store("queries", Object.fromEntries([...others, [called, sql]]))) return cv.toast("error", cv.t("store_full"))
      list()
    }]])
  }
  document.addEventListener("keydown", event => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target === area()) event.target.form.requestSubmit()
  })
  cv.doing["sign-out"] = async () => {
    await fetch("sign-out", {method: "POST", redirect: "manual"})
    location.reload()
  }
  // The panel that a click on a price opens: what the lake knows about where it comes from.
  let panel = null
  cv.part("provenance", markup => { if (panel) cv.morph(panel, markup) })
  cv.doing.trace = element => {
    panel = cv.make("div", "cv-trace-panel")
    panel.append(cv.make("div", "cv-state", cv.t("tracing")))
    cv.dialog(cv.t("provenance"), panel, [[cv.t("close"), "cv-close"]]).classList.add("cv-wide-dialog")
    cv.send("coin", "trace", {asset: element.dataset.asset, at: element.dataset.tick})
  }
  cv.doing.record = element => {
    element.closest("dialog")?.close()
    cv.view("topics")
    const {topic, partition, at} = element.dataset
    cv.send("topics", "record", {topic, partition, at})
  }
  list()
})()
