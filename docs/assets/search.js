// In a query, lunr takes colons and other signs for operators: an error that is pasted as XML would find nothing.
document.addEventListener("paste", event => {
  const input = event.target
  if (!input.matches || !input.matches(".md-search__input")) return
  const pasted = event.clipboardData.getData("text")
  if (!pasted.includes("<")) return
  event.preventDefault()
  const text = pasted.replace(/[<>:~^*+"/-]+/g, " ").trim()
  input.setRangeText(text, input.selectionStart, input.selectionEnd, "end")
  for (const kind of ["input", "keyup"]) input.dispatchEvent(new Event(kind, { bubbles: true }))
}, true)
