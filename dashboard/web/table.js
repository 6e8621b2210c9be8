// A table of any length: only the rows in sight are in the document. Rows are patched by key and cell.
(() => {
  const cv = window.cv
  const MORE = 8 // rows above and below the window

  // columns: [{field, title, tip, classes, sort, draw(cell, row)}]; draw may return a text.
  cv.table = ({place, columns, key, rowHeight, rowClasses, chosen}) => {
    let shown = columns
    let rows = []
    let sort = {field: null, down: false}
    const live = new Map() // key: {element, cells, values}
    const table = cv.make("div", "cv-grid", undefined, {role: "table"})
    const head = cv.make("div", "cv-grid-head", undefined, {role: "row"})
    const body = cv.make("div", "cv-grid-body", undefined, {role: "rowgroup"})
    const headGroup = cv.make("div", "cv-grid-headgroup", undefined, {role: "rowgroup"})
    headGroup.append(head)
    table.append(headGroup, body)
    place.replaceChildren(table)

    const drawHead = () => {
      head.replaceChildren(...shown.map(column => {
        const cell = cv.make("div", `cv-cell cv-head ${column.classes ?? ""} cv-col-${column.field}`, undefined, {role: "columnheader", "data-field": column.field})
        const way = sort.field === column.field ? (sort.down ? "descending" : "ascending") : "none"
        if (column.sort === undefined) { cell.append(cv.make("span", "", column.title)); cell.title = column.tip ?? ""; return cell }
        cell.setAttribute("aria-sort", way)
        const button = cv.make("button", "", column.title, {type: "button", title: column.tip ?? ""})
        button.append(cv.make("span", "cv-arrow", way === "none" ? "" : way === "ascending" ? " ▴" : " ▾", {"aria-hidden": "true"}))
        button.addEventListener("click", () => {
          sort = sort.field !== column.field ? {field: column.field, down: false} : sort.down ? {field: null, down: false} : {field: column.field, down: true}
          drawHead()
          self.onSort?.(sort)
          head.querySelector(`[data-field="${column.field}"] button`)?.focus()
        })
        cell.append(button)
        return cell
      }))
    }
    const template = () => { table.style.setProperty("--columns", shown.map(column => column.width).join(" ")) }

    const window_ = () => {
      const top = body.getBoundingClientRect().top - place.getBoundingClientRect().top
      const height = place.clientHeight || 600
      const from = Math.max(0, Math.floor(-top / rowHeight) - MORE)
      return [from, Math.min(rows.length, Math.ceil((height - top) / rowHeight) + MORE)]
    }
    const rowOf = row => {
      const id = key(row)
      let entry = live.get(id)
      if (!entry) {
        const element = cv.make("div", "cv-row", undefined, {role: "row", "data-id": id, tabindex: "-1"})
        const cells = shown.map(column => {
          const cell = cv.make("div", `cv-cell ${column.classes ?? ""} cv-col-${column.field}`, undefined, {role: "cell"})
          element.append(cell)
          return cell
        })
        entry = {element, cells, row: null}
        live.set(id, entry)
      }
      return entry
    }
    // A row that has the focus may move, or be drawn no more: then the table has the focus.
    const draw = () => cv.keepFocus(body, drawRows, place)
    const drawRows = () => {
      body.style.height = `${rows.length * rowHeight}px`
      const [from, to] = window_()
      const wanted = new Set()
      let before = null
      for (let index = from; index < to; index++) {
        const row = rows[index]
        const entry = rowOf(row)
        wanted.add(key(row))
        entry.element.style.top = `${index * rowHeight}px`
        entry.element.setAttribute("aria-rowindex", index + 2)
        if (entry.row !== row) {
          shown.forEach((column, at) => column.draw(entry.cells[at], row, entry.row))
          entry.row = row
        }
        entry.element.className = `cv-row ${rowClasses?.(row) ?? ""}`
        // In the order of the rows, for readers of the document.
        const place_ = before ? before.nextSibling : body.firstChild
        if (entry.element !== place_) body.insertBefore(entry.element, place_)
        before = entry.element
      }
      for (const [id, entry] of live) if (!wanted.has(id)) { entry.element.remove(); live.delete(id) }
      table.setAttribute("aria-rowcount", rows.length + 1)
    }
    let due = false
    const later = () => { if (!due) { due = true; requestAnimationFrame(() => { due = false; draw() }) } }
    place.addEventListener("scroll", later, {passive: true})
    new ResizeObserver(later).observe(place)
    body.addEventListener("click", event => {
      const id = event.target.closest(".cv-row")?.dataset.id
      if (id !== undefined && !event.target.closest("button, a")) chosen(id)
    })
    const self = {
      get sort() { return sort },
      set sort(wanted) { sort = wanted; drawHead() },
      show: wanted => { rows = wanted; draw() },
      columns: wanted => {
        const had = table.contains(document.activeElement)
        shown = wanted
        live.clear()
        body.replaceChildren()
        template()
        drawHead()
        draw()
        if (had) place.focus({preventScroll: true})
      },
      reveal: id => {
        const index = rows.findIndex(row => key(row) === id)
        if (index < 0) return
        const top = index * rowHeight
        if (top < place.scrollTop) place.scrollTop = top
        else if (top + 2 * rowHeight > place.scrollTop + place.clientHeight) place.scrollTop = top + 2 * rowHeight - place.clientHeight
      },
      draw,
      rows: () => rows,
    }
    template()
    drawHead()
    return self
  }
})()
