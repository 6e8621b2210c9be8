// Queries of the lake page: examples, saved ones of this browser, Ctrl+Enter. Records traced from a price open on the topics page.
(() => {
  const area = () => document.querySelector(".cv-sql-text")
  const saved = () => cv.stored("queries", {})
  const list = () => {
    const chooser = document.querySelector(".cv-queries")
    if (!chooser) return
    chooser.querySelector(".cv-saved")?.remove()
    const names = Object.keys(saved())
    if (!names.length) return
    const group = cv.make("optgroup", "cv-saved", undefined, {label: "Saved here"})
    for (const name of names) group.append(cv.make("option", "", name, {value: saved()[name]}))
    chooser.append(group)
  }
  document.addEventListener("change", event => {
    if (!event.target.matches?.(".cv-queries") || !event.target.value) return
    area().value = event.target.value
    event.target.value = ""
    area().focus()
  })
  cv.doing["save-sql"] = () => {
    const sql = area().value.trim()
    if (!sql) return area().focus()
    const name = cv.make("input", "", undefined, {type: "text", maxlength: "60", "aria-label": "Name"})
    name.value = sql.replace(/\s+/g, " ").slice(0, 40)
    cv.dialog("Save the query", name, [[cv.t("cancel"), "cv-cancel"], ["Save", "cv-confirm", () => {
      const all = saved()
      all[name.value.trim() || "query"] = sql
      cv.store("queries", Object.fromEntries(Object.entries(all).slice(-50)))
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
  cv.doing.record = element => {
    cv.view("topics")
    const {topic, partition, at} = element.dataset
    cv.send("topics", "record", {topic, partition, at})
  }
  list()
})()
