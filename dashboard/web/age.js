// <cv-age data-tick="UTC epoch ms">: shows the time since the tick, counted in the browser, independent of message delays.
// With data-live and data-late (thresholds, ms) it also sets the class cv-age-<live|late|stale|no-data> and words.
(() => {
  const WORDS = {live: "live", late: "late", stale: "stale", "no-data": "no data"}
  const word = kind => window.cv?.t(kind) ?? WORDS[kind]
  const shown = new Set()
  // Lead of the server's clock over the browser's, in ms: 0 unless acknowledgements show an offset.
  const clock = (window.cvClock = {
    ahead: 0,
    now: () => Date.now() + clock.ahead,
    set: ahead => { clock.ahead = ahead; showAll() },
  })

  const format = ms => {
    const seconds = Math.floor(Math.max(0, ms) / 1000)
    if (seconds < 60) return `${seconds}s`
    if (seconds < 3600) return `${Math.floor(seconds / 60)}m ${seconds % 60}s`
    if (seconds < 86400) return `${Math.floor(seconds / 3600)}h ${Math.floor((seconds % 3600) / 60)}m`
    return `${Math.floor(seconds / 86400)}${window.cv?.language === "fr" ? "j" : "d"} ${Math.floor((seconds % 86400) / 3600)}h`
  }
  const judge = (age, live, late) => age === null ? "no-data" : age < live ? "live" : age < late ? "late" : "stale"
  const put = (node, name, value) => { if (node.getAttribute(name) !== value) node.setAttribute(name, value) }

  class Age extends HTMLElement {
    static observedAttributes = ["data-tick"]
    connectedCallback() { shown.add(this); this.show() }
    disconnectedCallback() { shown.delete(this) }
    attributeChangedCallback() { if (this.isConnected) this.show() }
    show() {
      const {tick, live, late, words} = this.dataset
      const age = tick === undefined ? null : clock.now() - Number(tick)
      const text = age === null ? "—" : format(age)
      if (live === undefined) {
        if (this.textContent !== text) this.textContent = text
        return
      }
      const kind = judge(age, Number(live), Number(late))
      for (const each of Object.keys(WORDS)) this.classList.toggle(`cv-age-${each}`, each === kind)
      const said = age === null ? word(kind) : words === undefined ? text : `${word(kind)} · ${text}`
      if (this.textContent !== said) {
        this.textContent = said
        if (words !== undefined && age !== null) {
          const part = document.createElement("span")
          part.className = "cv-word"
          part.textContent = `${word(kind)} · `
          this.replaceChildren(part, text)
        }
      }
      put(this, "title", age === null ? word("no-data") : `${word(kind)}: ${text}`)
      put(this, "aria-label", age === null ? word(kind) : `${text}, ${word(kind)}`)
    }
  }

  const showAll = () => shown.forEach(one => one.show())
  customElements.define("cv-age", Age)
  setInterval(showAll, 500)
  for (const event of ["visibilitychange", "resume"]) document.addEventListener(event, showAll)
  window.addEventListener("pageshow", showAll)
})()
