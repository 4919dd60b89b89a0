// Suggests while one types. Without this script the search works all the same.

const WAIT_MS = 120;

for (const input of document.querySelectorAll("form[role=search] input[name=q]")) {
  suggest(input);
}

function suggest(input) {
  const list = document.createElement("ul");
  const kinds = document.documentElement.lang === "en"
    ? { district: "district", provider: "provider", theme: "theme", title: "dataset" }
    : { district: "区", provider: "提供单位", theme: "主题", title: "数据集" };
  let current = -1;
  let typed = input.value;
  let timer = 0;
  let asked = new AbortController();

  list.id = `${input.id}-list`;
  list.className = "suggest";
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", document.documentElement.lang === "en" ? "Suggestions" : "搜索建议");
  list.hidden = true;
  input.after(list);
  input.setAttribute("role", "combobox");
  input.setAttribute("aria-autocomplete", "list");
  input.setAttribute("aria-controls", list.id);
  close();

  function close() {
    list.hidden = true;
    current = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }

  function show(found) {
    list.replaceChildren(...found.map((one, place) => {
      const option = document.createElement("li");
      const kind = document.createElement("small");
      option.id = `${list.id}-${place}`;
      option.setAttribute("role", "option");
      option.setAttribute("aria-selected", "false");
      option.dataset.text = one.text;
      // Text nodes only: nothing of a record becomes markup.
      kind.textContent = (kinds[one.kind] ?? "") + (one.count === undefined ? "" : ` ${one.count}`);
      option.append(one.text, " ", kind);
      return option;
    }));
    close();
    list.hidden = found.length === 0;
    input.setAttribute("aria-expanded", String(!list.hidden));
  }

  function move(step) {
    const options = list.children;
    options[current]?.setAttribute("aria-selected", "false");
    // One place more than options: what was typed.
    current = (current + 1 + step + options.length + 1) % (options.length + 1) - 1;
    const option = options[current];
    option?.setAttribute("aria-selected", "true");
    option?.scrollIntoView({ block: "nearest" });
    input.value = option?.dataset.text ?? typed;
    if (option) {
      input.setAttribute("aria-activedescendant", option.id);
    } else {
      input.removeAttribute("aria-activedescendant");
    }
  }

  async function ask() {
    asked.abort();
    asked = new AbortController();
    const scope = new FormData(input.form).get("scope") ?? "own";
    const query = new URLSearchParams({ q: typed, scope });
    try {
      const answer = await fetch(`/api/v1/suggest?${query}`, { signal: asked.signal });
      show(answer.ok ? await answer.json() : []);
    } catch {
      // Given up for a newer one, or the network is gone: no suggestions then.
    }
  }

  input.addEventListener("input", () => {
    typed = input.value;
    clearTimeout(timer);
    if (typed.trim() === "") {
      asked.abort();
      close();
    } else {
      timer = setTimeout(ask, WAIT_MS);
    }
  });
  input.addEventListener("keydown", (event) => {
    if (event.isComposing || list.hidden) {
      return;
    }
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      move(event.key === "ArrowDown" ? 1 : -1);
    } else if (event.key === "Escape") {
      event.preventDefault();
      input.value = typed;
      close();
    }
  });
  // Before the input loses its focus, which would close the list under the pointer.
  list.addEventListener("pointerdown", (event) => {
    const option = event.target.closest("[role=option]");
    if (option) {
      event.preventDefault();
      input.value = option.dataset.text;
      input.form.requestSubmit();
    }
  });
  input.addEventListener("blur", close);
}
