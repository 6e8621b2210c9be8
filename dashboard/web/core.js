// The page's side of the channel: parts, actions, frame. Other scripts add renderers (cv.part) and local actions (cv.doing).
(() => {
  const first = JSON.parse(document.getElementById("cv-first").textContent)
  const renderers = new Map()
  const [LOOK_MS, LOOKS] = [5000, 6] // the server is lost after so many looks without a message
  const held = new Map()
  let channel = null
  let silent = 0 // looks since the last message
  const unsent = []

  const cv = (window.cv = {
    first,
    link: first.link,
    language: first.language,
    t: (key, values = {}) => Object.entries(values).reduce((words, [name, value]) => words.replace(`{${name}}`, () => value), first.texts[key] ?? key),
    doing: {},
    // The renderer of a part whose content is not markup.
    part: (name, show) => {
      renderers.set(name, show)
      if (held.has(name)) show(held.get(name))
    },
    // Content that came before its renderer is kept; that of a renderer is not, since it may be a change.
    show: (name, content) => {
      const show = renderers.get(name)
      if (show) return show(content)
      held.set(name, content)
      if (typeof content === "string") for (const place of document.querySelectorAll(`[data-part="${name}"]`)) cv.morph(place, content)
    },
    // An action for the server: a page of the registry, its verb, texts by name.
    send: (page, act, values = {}) => {
      const count = Object.values(values).reduce((sum, value) => sum + value.length, 0)
      if (count > first.longest) return cv.toast("error", cv.t("too_long", {count: cv.count(count), limit: cv.count(first.longest)}))
      const message = {page, act, values}
      channel ? channel.send_msg(message) : unsent.push(message)
    },
    receive: text => {
      silent = 0
      const {mark, parts, notices} = JSON.parse(text)
      const [number, ahead] = mark.split(" ")
      if (ahead) window.cvClock.set(Number(ahead))
      for (const [name, content] of Object.entries(parts)) {
        try { cv.show(name, content) } catch (error) { console.error(`part ${name}`, error) }
      }
      for (const notice of notices) notice.download ? save(notice.download) : cv.toast(notice.kind, notice.text)
      channel.send_msg({ack: `${number} ${Date.now()}`})
    },
    // Called by Panel's component when the channel is open.
    attach: model => {
      channel = model
      reloads(0)
      model.on("msg:custom", cv.receive)
      channel.send_msg({page: "root", act: "hello", values: {first: first.first}})
      for (const message of unsent.splice(0)) channel.send_msg(message)
      for (const each of window.Bokeh.documents) each.on_event("connection_lost", lose)
    },
    toast: (kind, words) => {
      const made = make("div", `cv-toast cv-toast-${kind}`, words)
      document.querySelector(".cv-toasts").append(made)
      setTimeout(() => made.remove(), 6000)
    },
    // Whether it could be kept.
    store: (key, value) => { try { localStorage.setItem(`cv.${key}`, JSON.stringify(value)); return true } catch { return false } },
    // What is of another kind than `otherwise` was kept by another version, or by hand: it is as if nothing were kept.
    stored: (key, otherwise) => {
      try {
        const found = JSON.parse(localStorage.getItem(`cv.${key}`)) ?? otherwise
        return otherwise === null || (typeof found === typeof otherwise && Array.isArray(found) === Array.isArray(otherwise)) ? found : otherwise
      } catch { return otherwise }
    },
  })

  const make = (cv.make = (tag, classes = "", words = undefined, attributes = {}) => {
    const made = document.createElement(tag)
    if (classes) made.className = classes
    if (words !== undefined) made.textContent = words
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value)
    return made
  })

  const save = address => {
    const link = make("a", "", "", {href: address, download: ""})
    document.body.append(link)
    link.click()
    link.remove()
  }

  // ---- Markup of the server, changed in place: focus, scroll and open details stay. Elements with the same data-key are the same.
  const keyOf = node => (node.nodeType === 1 ? node.dataset.key : undefined)
  const alike = (one, other) => one.nodeType === other.nodeType && one.nodeName === other.nodeName && keyOf(one) === keyOf(other)
  const morphNode = (node, wanted) => {
    if (node.nodeType !== 1) {
      if (node.nodeValue !== wanted.nodeValue) node.nodeValue = wanted.nodeValue
      return
    }
    const own = ["CV-AGE", "CV-TIME", "CV-ZONE"].includes(node.nodeName) // set their class, texts and title themselves
    for (const {name, value} of [...wanted.attributes]) {
      if (own && !name.startsWith("data-")) continue
      if (node.getAttribute(name) !== value) node.setAttribute(name, value)
    }
    for (const {name} of [...node.attributes]) {
      if (wanted.hasAttribute(name) || (own && !name.startsWith("data-")) || (node.nodeName === "DETAILS" && name === "open")) continue
      node.removeAttribute(name)
    }
    if (!own) morphChildren(node, wanted)
  }
  const morphChildren = (place, wanted) => {
    let at = place.firstChild
    for (const next of [...wanted.childNodes]) {
      if (at && !alike(at, next)) {
        let same = keyOf(next) === undefined ? null : at.nextSibling
        while (same && !alike(same, next)) same = same.nextSibling
        place.insertBefore(same ?? next, at)
        if (!same) continue
        at = same
      }
      if (!at) { place.append(next); continue }
      morphNode(at, next)
      at = at.nextSibling
    }
    while (at) { const after = at.nextSibling; at.remove(); at = after }
  }
  cv.morph = (place, markup) => {
    const wanted = document.createElement("template")
    wanted.innerHTML = markup
    cv.keepFocus(place, () => morphChildren(place, wanted.content))
  }

  // ---- Focus: a change of the page does not take it away. What has it may have moved, or be gone or disabled: then its counterpart gets it (the same
  // action or field), else the nearest control: of its row, of its place, of what is around. `otherwise` comes before all of them.
  const CONTROLS = "a[href], button, input, select, textarea, summary, [tabindex='0']"
  const usable = element => element.isConnected && !element.disabled && element.checkVisibility()
  const kindOf = element => {
    const {act, do: doing, id, name, kind} = element.dataset
    return JSON.stringify([element.localName, element.type, element.getAttribute("name"), act, doing, id, name, kind])
  }
  // The answer gives the focus back to what has it now.
  const holdFocus = (had, place, otherwise = null) => {
    const [kind, row] = [kindOf(had), had.closest("[data-key]")?.dataset.key]
    const around = []
    for (let each = place; each && each !== document.body; each = each.parentElement) around.push(each)
    const first = (within, fits = () => true) => [...(within?.querySelectorAll(CONTROLS) ?? [])].find(each => usable(each) && fits(each))
    return () => {
      if (document.activeElement === had && usable(had)) return
      const near = row === undefined ? null : place.querySelector(`[data-key="${CSS.escape(row)}"]`)
      const next = usable(had) ? had : otherwise?.checkVisibility() ? otherwise : first(place, each => kindOf(each) === kind) ?? first(near) ?? around.map(each => first(each)).find(Boolean)
      next?.focus({preventScroll: true})
    }
  }
  const focused = within => (document.activeElement !== document.body && within.contains(document.activeElement) ? document.activeElement : null)
  cv.keepFocus = (place, change, otherwise) => {
    const had = focused(place)
    const giveBack = had && holdFocus(had, place, otherwise)
    change()
    giveBack?.()
  }

  // ---- Actions: data-act is the server's, data-do the page's own. data-confirm asks first.
  const valuesOf = element => {
    const {act, confirm, key, part, ...values} = element.dataset
    const form = element.closest("form")
    if (form) for (const [name, value] of new FormData(form)) if (typeof value === "string") values[name] = value
    if (element.matches("select, input")) values.value = element.type === "checkbox" ? String(element.checked) : element.value
    return values
  }
  const act = element => {
    const page = element.closest("[data-page]")?.dataset.page ?? "root"
    const go = () => cv.send(page, element.dataset.act, valuesOf(element))
    element.dataset.confirm ? cv.confirm(element.dataset.confirm, go) : go()
  }
  document.addEventListener("click", event => {
    const element = event.target.closest?.("[data-act], [data-do]")
    if (!element || element.disabled || element.matches("form, select, input")) return
    if (element.dataset.do) {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return
      event.preventDefault()
      cv.doing[element.dataset.do]?.(element, event)
    } else act(element)
  })
  document.addEventListener("change", event => { if (event.target.matches?.("select[data-act], input[data-act]")) act(event.target) })
  document.addEventListener("submit", event => {
    event.preventDefault()
    if (event.target.matches("[data-act]")) act(event.target)
  })

  // ---- Dialogs
  cv.dialog = (title, content, buttons) => {
    const dialog = make("dialog", "cv-dialog", undefined, {"aria-label": title})
    dialog.append(make("h2", "cv-dialog-title", title), content)
    const row = make("div", "cv-dialog-buttons")
    for (const [label, classes, go] of buttons) {
      const place = make("span", classes)
      const button = make("button", "cv-button", label, {type: "button"})
      button.addEventListener("click", () => { dialog.close(); go?.() })
      place.append(button)
      row.append(place)
    }
    dialog.append(row)
    const had = focused(document.body)
    const giveBack = had && holdFocus(had, had.closest("[data-part]") ?? had.parentElement)
    dialog.addEventListener("close", () => {
      dialog.remove()
      if (!focused(document.body)) giveBack?.() // the browser has given it back, unless what had it is gone or disabled
    })
    document.body.append(dialog)
    dialog.showModal()
    return dialog
  }
  cv.confirm = (question, go) => cv.dialog(cv.t("please_confirm"), make("p", "", question), [[cv.t("cancel"), "cv-cancel"], [cv.t("confirm"), "cv-confirm", go]])

  // ---- Address, views, theme, clock
  const write = push => {
    const {coin, tf, view} = cv.link
    const asked = new URLSearchParams(location.search).get("lang")
    const query = `?coin=${encodeURIComponent(coin)}&tf=${tf}` + (view === Object.keys(first.pages)[0] ? "" : `&view=${view}`) + (asked ? `&lang=${asked}` : "")
    if (query !== location.search) history[push ? "pushState" : "replaceState"](null, "", query)
  }
  const display = () => {
    const {view} = cv.link
    document.body.dataset.view = view
    const had = document.activeElement
    for (const page of document.querySelectorAll(".cv-page")) page.hidden = ![view, first.pages[view]].includes(page.dataset.page)
    for (const tab of document.querySelectorAll("[role=tab]")) {
      const chosen = tab.dataset.view === view
      tab.setAttribute("aria-selected", chosen)
      tab.tabIndex = chosen ? 0 : -1
      if (chosen) tab.scrollIntoView({block: "nearest", inline: "nearest"})
      if (chosen && had?.closest(".cv-page[hidden]")) tab.focus({preventScroll: true})
    }
    document.dispatchEvent(new CustomEvent("cv-view", {detail: view}))
  }
  cv.view = (view, push = true) => {
    if (!(view in first.pages) || view === cv.link.view) return
    cv.link.view = view
    display()
    write(push)
    cv.send("root", "show", {view})
  }
  // Chooses a coin, an interval or both: here, in the address and at the server.
  cv.choose = ({coin = cv.link.coin, tf = cv.link.tf}, push = false) => {
    Object.assign(cv.link, {coin, tf})
    write(push)
    cv.send("coin", "choose", {coin, tf})
    document.dispatchEvent(new CustomEvent("cv-chosen"))
  }
  window.addEventListener("popstate", () => {
    const asked = new URLSearchParams(location.search)
    cv.view(asked.get("view") ?? Object.keys(first.pages)[0], false)
    cv.choose({coin: asked.get("coin") ?? cv.link.coin, tf: asked.get("tf") ?? cv.link.tf})
  })
  cv.doing.view = element => cv.view(element.dataset.view)
  cv.doing.choose = element => cv.choose({coin: element.dataset.coin})
  cv.doing.language = element => {
    const asked = new URLSearchParams(location.search)
    asked.set("lang", element.dataset.language)
    try { sessionStorage.setItem("cv.focus", "language") } catch {}
    location.search = asked
  }
  cv.doing.theme = () => {
    window.cvTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark")
    document.dispatchEvent(new CustomEvent("cv-theme"))
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new CustomEvent("cv-theme")))
  cv.local = cv.stored("clock", "utc") === "local"
  const showClock = () => { document.querySelector(".cv-clock-mode").textContent = cv.local ? "LOC" : "UTC" }
  cv.doing.clock = () => {
    cv.local = !cv.local
    cv.store("clock", cv.local ? "local" : "utc")
    showClock()
    document.dispatchEvent(new CustomEvent("cv-clock"))
  }
  showClock()

  // ---- Keys
  const keys = (cv.keys = new Map()) // key: [key of the help text, act]
  const help = () => {
    const list = make("dl", "cv-keys")
    for (const [key, [words]] of keys) list.append(make("dt", "", key), make("dd", "", cv.t(words)))
    cv.dialog(cv.t("help"), list, [[cv.t("close"), "cv-close"]])
  }
  cv.doing.help = help
  keys.set("?", ["help_help", help])
  Object.keys(first.pages).forEach((view, index) => keys.set(`g ${index + 1}`, [view, () => cv.view(view)]))
  let prefix = ""
  document.addEventListener("keydown", event => {
    const tab = event.target.closest?.("[role=tab]")
    if (tab && ["ArrowLeft", "ArrowRight"].includes(event.key)) {
      const tabs = [...document.querySelectorAll("[role=tab]")]
      const next = tabs.at((tabs.indexOf(tab) + (event.key === "ArrowRight" ? 1 : -1)) % tabs.length)
      next.focus()
      return cv.view(next.dataset.view)
    }
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches?.("input, select, textarea") || document.querySelector("dialog[open]")) return
    const key = prefix ? `${prefix} ${event.key}` : event.key
    prefix = !prefix && key === "g" ? "g" : ""
    const found = keys.get(key)
    if (found) { event.preventDefault(); found[1](event) }
  })

  // ---- The server is lost: values and ages stay, and the page reloads as soon as it answers.
  // Reloads that bring no channel are ever rarer: 0.5 s, 1 s, … 32 s.
  let lost = false
  const reloads = count => {
    try {
      if (count !== undefined) sessionStorage.setItem("cv.reloads", count)
      return Number(sessionStorage.getItem("cv.reloads") ?? 0)
    } catch { return 6 }
  }
  const healthy = async () => {
    try { return (await fetch("healthz", {cache: "no-store", signal: AbortSignal.timeout(15000)})).ok } catch { return false }
  }
  const lose = () => {
    if (lost) return
    lost = true
    document.querySelector(".cv-server-lost").hidden = false
    const ask = async () => {
      if (await healthy()) {
        reloads(Math.min(6, reloads() + 1))
        return location.reload()
      }
      setTimeout(ask, 1000)
    }
    setTimeout(ask, 500 * 2 ** reloads())
  }

  // Until the channel is open nothing else says that the server has ended.
  const watch = async () => {
    if (channel || lost) return
    if (!(await healthy()) && !channel) return lose()
    setTimeout(watch, 3000)
  }

  // A connection can end without a word to this side, as behind a router that has forgotten it: a server that is asked answers.
  // Looks and not milliseconds are counted, so that a browser that slept has not heard nothing for an hour.
  setInterval(() => {
    if (!channel || lost) return
    silent += 1
    if (silent > LOOKS) lose()
    else if (silent > 1) cv.send("root", "still")
  }, LOOK_MS)

  // ---- A moment, by the chosen clock: <cv-time data-ms="UTC epoch ms">.
  const times = new Set()
  cv.time = (ms, parts = {dateStyle: "short", timeStyle: "medium"}) => new Date(ms).toLocaleString(cv.language === "fr" ? "fr-FR" : "en-GB", {...parts, timeZone: cv.local ? undefined : "UTC"})
  customElements.define("cv-time", class extends HTMLElement {
    static observedAttributes = ["data-ms"]
    connectedCallback() { times.add(this); this.show() }
    disconnectedCallback() { times.delete(this) }
    attributeChangedCallback() { if (this.isConnected) this.show() }
    show() { this.textContent = cv.time(Number(this.dataset.ms)) }
  })
  document.addEventListener("cv-clock", () => times.forEach(one => one.show()))

  // ---- The clock of a chart, in words: <cv-zone data-step="interval of its candles, ms">. Candles begin by UTC, which the local clock may not show.
  const zones = new Set()
  const [DAY_MS, HALF_A_YEAR_MS] = [86_400_000, 182 * 86_400_000] // by which summer time differs
  customElements.define("cv-zone", class extends HTMLElement {
    static observedAttributes = ["data-step"]
    connectedCallback() { zones.add(this); this.show() }
    disconnectedCallback() { zones.delete(this) }
    attributeChangedCallback() { if (this.isConnected) this.show() }
    show() {
      if (!cv.local) { this.textContent = cv.t("zone_utc"); return }
      const step = Number(this.dataset.step)
      const words = [cv.t("zone_local", {zone: Intl.DateTimeFormat().resolvedOptions().timeZone})]
      const apart = [0, HALF_A_YEAR_MS].some(ago => (new Date(Date.now() - ago).getTimezoneOffset() * 60_000) % step)
      if (apart) words.push(cv.t(step >= DAY_MS ? "zone_day" : "zone_hour"))
      this.textContent = words.join(" ")
    }
  })
  document.addEventListener("cv-clock", () => zones.forEach(one => one.show()))

  // ---- Start: the parts of the HTML now, Bokeh and Panel after the first paint.
  cv.start = () => {
    for (const [name, content] of Object.entries(first.parts)) cv.show(name, content)
    write(false)
    try {
      if (sessionStorage.getItem("cv.focus")) document.querySelector('[data-do="language"]').focus()
      sessionStorage.removeItem("cv.focus")
    } catch {}
    document.querySelector("[role=tab][aria-selected=true]")?.scrollIntoView({block: "nearest", inline: "nearest"})
    setTimeout(watch, 3000)
    const load = () => {
      const options = make("script", "", '{"shimMode": true}', {type: "esms-options"})
      const script = make("script", "", undefined, {src: first.libraries})
      script.addEventListener("load", () => {
        window.Bokeh.set_log_level("error")
        window.Bokeh.embed.embed_items("{}", [JSON.parse(document.getElementById("cv-session").textContent)])
      })
      script.addEventListener("error", lose)
      document.head.append(options, script)
    }
    requestAnimationFrame(() => setTimeout(load))
    setTimeout(() => document.querySelector("script[src='" + first.libraries + "']") ?? load(), 500) // a hidden tab paints no frame
  }
})()
